package otc

import (
	"cmp"
	"net/http"
	"strings"
)

// A Reaction is what may be done about a failed call.
type Reaction int

// The reactions, one layer each: this package handles Transient on GET,
// Throttled on all but PUT, and Relogin; the rest is for the caller.
const (
	Permanent    Reaction = iota // the same request fails again until something is changed
	Transient                    // GET: again soon; PUT: it may have been applied, read before anything else
	Throttled                    // not executed; wait what was asked for, else 10 to 60 s
	Relogin                      // the token is refused: one new login
	LoginRefused                 // no further attempt with these credentials for 15 minutes
	Rejected                     // PUT, 400: one of the routes is not taken, or the table has moved on
	Conflict                     // PUT, 409: another client writes; read and plan again
	Quota                        // full: routes have to be removed
)

// String returns the reaction's name in lower case.
func (r Reaction) String() string {
	return [...]string{"permanent", "transient", "throttled", "relogin", "login_refused", "rejected", "conflict", "quota"}[r]
}

// A rule says how to react to one kind of answer. Empty fields match anything.
type rule struct {
	service         string
	operation       string
	status          int
	code            string // "VPC.2812"; the gateway's codes without their APIG or APIGW prefix: ".0308"
	message         string // lower-case substring
	reaction        Reaction
	outdatedRequest bool // the request did not fit what the table held
	hint            string
}

const (
	hintConfig = "check OS_AUTH_URL, OS_REGION_NAME and the OTC_*_ENDPOINT overrides; in eu-ch2 this API may not exist"
	hintLogin  = "IAM does not say which: wrong OS_PASSWORD, unknown, disabled or locked OS_USERNAME, MFA required of it, wrong account (OS_DOMAIN_NAME), " +
		"wrong OS_PROJECT_NAME or OS_PROJECT_ID, or no role in the project; " + hintAgain
	hintPassword = "OS_PASSWORD is not the password of OS_USERNAME; " + hintAgain
	hintAgain    = "a corrected Secret otc-credentials (make create-secrets) takes effect immediately, " +
		"a corrected user or role after make restart or 15 to 18 minutes; five refusals lock the user"
	hintLocked    = "the user is locked for 15 minutes after too many failed logins: find who uses this user with a wrong password"
	hintProject   = "OS_PROJECT_NAME and the endpoint overrides name different projects"
	hintAccount   = "the account is restricted, frozen or in arrears: see the OTC console"
	hintPolicy    = "grant %s to the user's group in this project; it takes effect with the next token"
	hintForbidden = "the message says why; what this call needs is %s"
	hintToken     = "the service rejects the token: check OS_REGION_NAME, OS_PROJECT_NAME and the state of the account"
	hintOutage    = "OTC is having problems: wait; if it lasts, ask the provider's support"
	hintBusy      = "too many calls: wait; if it lasts, raise DRIFT_CHECK_INTERVAL and check what else uses this user"
	hintWriter    = "another client writes to this route table: wait; if it lasts, Cloud Trace Service shows which"
	hintUnknown   = "unexpected response: ask the provider's support"
	hintFull      = "the route table is full: remove routes, or give some subnets another table"
	hintWay       = "the API has not answered this, but a proxy or load balancer on the way: check HTTPS_PROXY and NO_PROXY, and the endpoint (OS_AUTH_URL, OTC_VPC_ENDPOINT, OTC_ECS_ENDPOINT)"
	hintReach     = "check the way from here to the endpoint: DNS, proxy (HTTPS_PROXY, NO_PROXY), firewall"
	hintSecret    = "is Secret otc-credentials there, and mounted? make setup stores it, or OS_IDENTITY_PROVIDER for a login without it"
	hintIDToken   = "the kubelet writes the ID token into its file and renews it: see the pod's volumes and Events; make setup stores the rest"
	hintClaims    = "IAM does not say which: the issuer is not the provider's URL, the audience not its client ID, the subject in no mapping rule, " +
		"the signing keys not the cluster's (after a rotation enter them anew: kubectl get --raw /openid/v1/jwks), or a clock is wrong"
)

// policy is the retry table: the first rule that matches decides. It follows the
// error code tables of the IAM, VPC and ECS API references and of the API gateway.
func policy() []rule {
	return []rule{
		// Login. Five failures lock the user for 15 minutes (IAM login policy), so a 401 is
		// final. A Keystone answers all its causes with the same words and no code.
		{operation: "login", status: 401, code: "IAM.0061", reaction: LoginRefused, hint: hintLocked},
		{operation: "login", status: 401, code: "IAM.0062", reaction: LoginRefused, hint: hintPassword},
		// IAM has no code for it in its other shape, only this sentence.
		{operation: "login", status: 401, message: "account is locked", reaction: LoginRefused, hint: hintLocked},
		{operation: "login", status: 401, reaction: LoginRefused, hint: hintLogin},
		{operation: "login", status: 403, code: "IAM.0081", reaction: Permanent, hint: "the user may only use the console: allow programmatic access in IAM"},
		{operation: "login", status: 403, code: "IAM.0082", reaction: Permanent, hint: "the user is disabled: enable it in IAM"},
		{operation: "login", status: 403, reaction: Permanent, hint: "the user may not log in to this project: check OS_PROJECT_NAME and the user's groups in IAM"},
		{operation: "login", status: 404, code: "IAM.0004", reaction: Permanent, hint: "OS_DOMAIN_NAME or OS_PROJECT_NAME does not exist or is not visible to this user"},
		{operation: "login", status: 404, reaction: Permanent, hint: "check OS_AUTH_URL: this is not the IAM API"},
		{operation: "login", status: 400, reaction: Permanent, hint: "check OS_DOMAIN_NAME, OS_PROJECT_NAME and OS_AUTH_URL"},

		// Login by ID token. No user can be locked, so every refusal is tried again soon.
		{operation: opIDTokenLogin, status: 400, reaction: LoginRefused, hint: "check OS_IDENTITY_PROVIDER and OS_PROJECT_ID or OS_PROJECT_NAME"},
		{operation: opIDTokenLogin, status: 401, reaction: LoginRefused, hint: hintClaims},
		{operation: opIDTokenLogin, status: 403, reaction: LoginRefused, hint: "give the user group of the mapping rule a role in the project (OS_PROJECT_ID or OS_PROJECT_NAME)"},
		{operation: opIDTokenLogin, status: 404, code: "IAM.0004", reaction: LoginRefused, hint: "IAM knows no such identity provider (OS_IDENTITY_PROVIDER), or no such project (OS_PROJECT_ID or OS_PROJECT_NAME)"},
		{operation: opIDTokenLogin, status: 404, reaction: LoginRefused, hint: "check OS_AUTH_URL: this is not the IAM API, or it takes no ID tokens"},

		{service: "iam", status: 410, reaction: Throttled, hint: hintOutage}, // IAM.0020: it fails over to another region

		// Tokens refused by the services. Some say so with 403.
		{status: 401, code: "VPC.0005", reaction: Relogin, hint: hintAccount},
		{status: 401, code: "VPC.0009", reaction: Relogin, hint: hintAccount},
		{status: 401, code: ".0307", reaction: Relogin, hint: "the token has to be updated, or belongs to another region: check OS_REGION_NAME against OS_AUTH_URL and OS_PROJECT_NAME"},
		{status: 401, reaction: Relogin, hint: hintToken},
		{status: 403, message: "x-auth-token is invalid", reaction: Relogin, hint: hintToken},

		// Throttling, the ECS flow limit with its 202 included.
		{status: 429, reaction: Throttled},
		{service: "ecs", status: 202, reaction: Throttled},
		{status: 202, code: "Common.0024", reaction: Throttled},
		{status: 202, reaction: Transient}, // a PUT may yet be applied

		{status: 405, reaction: Permanent}, // the gateway's own quota among them

		// What a PUT on a route table meets.
		// No code is documented for a full table, only this sentence.
		{operation: opUpdateTable, status: 400, message: "quota exceeded", reaction: Quota, hint: hintFull},
		{operation: opUpdateTable, status: 409, message: "quota exceeded", reaction: Quota, hint: hintFull},
		{operation: opUpdateTable, status: 400, code: "VPC.2812", reaction: Rejected, outdatedRequest: true, hint: hintWriter},
		{operation: opUpdateTable, status: 409, reaction: Conflict, hint: hintWriter},
		{operation: opUpdateTable, status: 400, code: "VPC.2809", reaction: Rejected, hint: "the cloud refuses this route: does it overlap a subnet of the VPC, or is it IPv6 where the table takes IPv4 only?"},
		{status: 409, code: "VPC.0103", reaction: Transient}, // "busy, try it again later"

		// 400 that is a passing failure behind the API.
		{status: 400, code: "VPC.0004", reaction: Transient},
		{status: 400, code: "Ecs.0301", reaction: Transient},
		{status: 400, code: "Ecs.1000", reaction: Transient},
		{status: 400, code: "Ecs.1001", reaction: Transient},
		{status: 400, code: "Ecs.1002", reaction: Transient},
		{status: 400, code: "Ecs.1100", reaction: Transient},
		{status: 400, code: "Ecs.1200", reaction: Transient},
		{status: 404, code: "VPC.0105", reaction: Transient},
		{code: ".0103", reaction: Transient},
		{code: ".0104", reaction: Transient},
		{code: ".0105", reaction: Transient},
		{code: ".0106", reaction: Transient},

		// What else is wrong with a PUT may be one of its routes.
		{operation: opUpdateTable, status: 400, code: "VPC.0007", reaction: Rejected, hint: hintProject},
		{operation: opUpdateTable, status: 400, reaction: Rejected, hint: hintUnknown},

		// Configuration and permissions.
		{status: 400, code: "VPC.0007", reaction: Permanent, hint: hintProject},
		{status: 400, code: "Ecs.0023", reaction: Permanent, hint: hintProject},
		{status: 400, code: "Common.0018", reaction: Permanent, hint: hintProject},
		{status: 403, code: "VPC.2701", reaction: Permanent, hint: hintAccount},
		{status: 403, code: "VPC.2201", reaction: Permanent, hint: hintPolicy},
		{status: 403, code: "VPC.0010", reaction: Permanent, hint: hintPolicy},
		{status: 403, code: "Pdp.0001", reaction: Permanent, hint: hintPolicy},
		{status: 403, code: "Ecs.0003", reaction: Permanent, hint: hintPolicy},
		{status: 403, code: "Ecs.0110", reaction: Permanent, hint: hintPolicy},
		{status: 403, code: "forbidden", reaction: Permanent, hint: hintPolicy},
		{status: 403, code: anyGatewayCode, reaction: Permanent, hint: "the API gateway refused this before the service saw it: the message, and access control (ACL) in IAM"},
		{status: 403, reaction: Permanent, hint: hintForbidden},
		{status: 404, code: "VPC.2808", reaction: Permanent, hint: "check ROUTE_TABLE_ID: there is no such table in this project"},
		{status: 404, code: "Ecs.0114", reaction: Permanent},
		{status: 404, code: "Ecs.0614", reaction: Permanent},
		{status: 404, code: "itemNotFound", reaction: Permanent},
		{status: 404, code: ".0101", reaction: Permanent, hint: hintConfig},
		{status: 404, message: "api not found", reaction: Permanent, hint: hintConfig},
		{operation: opTable, status: 404, reaction: Permanent, hint: "check ROUTE_TABLE_ID, OS_PROJECT_NAME and OS_REGION_NAME"},
		{operation: opUpdateTable, status: 404, reaction: Permanent, hint: "check ROUTE_TABLE_ID, OS_PROJECT_NAME and OS_REGION_NAME"},
		{status: 404, reaction: Permanent, hint: hintConfig},

		{status: http.StatusRequestTimeout, reaction: Transient},
		{status: 500, reaction: Transient},
		{status: 501, code: "Ecs.0603", reaction: Transient},
		{status: 502, reaction: Transient},
		{status: 503, reaction: Transient},
		{status: 504, reaction: Transient},
		{reaction: Permanent},
	}
}

func (r rule) matches(e *Error) bool {
	return (r.service == "" || r.service == e.Service) &&
		(r.operation == "" || r.operation == e.Operation) &&
		(r.status == 0 || r.status == e.Status) &&
		(r.code == "" || r.code == e.Code || r.code == gatewayCode(e.Code) || r.code == anyGatewayCode && gatewayCode(e.Code) != "-") &&
		(r.message == "" || strings.Contains(strings.ToLower(e.Message), r.message))
}

// anyGatewayCode in a rule stands for every code of the API gateway.
const anyGatewayCode = ".*"

// gatewayCode turns "APIGW.0308" and "APIG.0308" into ".0308", others into "-".
func gatewayCode(code string) string {
	if prefix, n, ok := strings.Cut(code, "."); ok && (prefix == "APIGW" || prefix == "APIG") {
		return "." + n
	}
	return "-"
}

// decide fills in Reaction, OutdatedRequest and Hint.
func (e *Error) decide() {
	for _, r := range policy() {
		if r.matches(e) {
			e.Reaction, e.OutdatedRequest, e.Hint = r.reaction, r.outdatedRequest, r.hint
			break
		}
	}
	if e.Hint == "" {
		e.Hint = usualHint(e)
	}
	e.Hint = strings.Replace(e.Hint, "%s", cmp.Or(Permissions()[e.Operation], "the missing permission"), 1)
	if e.RequestID != "" && (e.Hint == hintOutage || e.Hint == hintUnknown) {
		e.Hint += " about this request id"
	}
}

// usualHint is for answers that no person has caused; "" for those that are no
// trouble, such as a server that is gone.
func usualHint(e *Error) string {
	switch {
	case e.Reaction == Transient:
		return hintOutage
	case e.Reaction == Throttled:
		return hintBusy
	case e.Reaction == Permanent && e.Status != http.StatusNotFound:
		return hintUnknown
	}
	return ""
}

// Permissions returns the IAM action that each call needs, by operation
// (permission tables of the VPC and ECS API references).
func Permissions() map[string]string {
	return map[string]string{
		opTable:       "vpc:routeTables:get",
		opUpdateTable: "vpc:routeTables:update",
		opQuotas:      "vpc:quotas:list",
		opPorts:       "vpc:ports:get",
		opServer:      "ecs:cloudServers:showServer",
		opServers:     "ecs:cloudServers:list",
	}
}
