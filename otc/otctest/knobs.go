package otctest

import "time"

// Knobs is how the cloud behaves where its documentation is silent, where it
// is known to differ between places, and where an operator can set it. The
// comment on each field says what its zero value means; New sets TokenSize,
// TokenLifetime, Region, the lockout, the table limit and the statuses.
type Knobs struct {
	Latency time.Duration // of every call; half of it passes before the call takes effect

	// IAM
	Region          string                    // of the catalog's endpoints; "eu-de"
	TokenSize       int                       // bytes in X-Subject-Token; 1600
	TokenLifetime   time.Duration             // 24h
	NoCatalog       bool                      // leave the catalog out, asked to or not
	FlatCatalog     bool                      // its entries are endpoints, without type and name
	Catalog         func([]Service) []Service // edits the catalog; nil leaves it as it is
	LockoutFailures int                       // failed logins within LockoutWindow that lock a user; 5. 0: never
	LockoutWindow   time.Duration             // 15m
	LockoutTime     time.Duration             // 15m
	LoginCodes      bool                      // a wrong password is answered with a code, IAM.0062
	UnknownProject  int                       // status of a login to an unknown project; 401
	IAMForbids      bool                      // IAM answers a bad token with 403 instead of 401

	// What stands before VPC and ECS
	BadToken   BadToken          // how a bad token is answered
	Restricted bool              // VPC answers 401 VPC.0005 to every token: logging in again does not help
	Deny       map[string]Denial // by action, such as "vpc:routeTables:update"; nil allows all
	Requests   Limit             // calls per user to both together; the zero Limit is none
	Writes     Limit             // PUTs per user; the zero Limit is none
	RetryAfter RetryAfter        // what a throttled call is told
	FlowLimit  bool              // ECS says "throttled" with status 202 Common.0024
	NoTableAPI bool              // the region has no route table API: 404 APIGW.0101
	SwapCode   bool              // ECS errors have code and message swapped

	// Reading a route table
	StaleReads   time.Duration // how long a GET still shows the table as it was before a change
	NullNextHop  bool          // local routes have null instead of "-", and more null members
	NoDefault    bool          // tables lack the member "default"
	ExtraMembers bool          // tables and routes have members nobody documented
	Shuffle      bool          // routes come in another order each time

	// Servers
	NumericVersion bool // the version of an address is a number instead of a string
	UserDataSize   int  // bytes of user data in a server's body; 0: those of [UserData]
	Amnesia        bool // ECS knows no server: lists are empty, ids are 404 Ecs.0114

	// Changing a route table
	TableLimit          int                 // routes per table, as the quota API says it; 200. Negative: any number
	CountLocal          bool                // local routes count towards TableLimit
	FullStatus          int                 // status when the table is full; 409
	MaxRoutesPerRequest int                 // operations per PUT, more is VPC.2800; 0: any number
	AddFirst            bool                // operations run add, mod, del instead of del, mod, add
	DuplicateStatus     int                 // status when an added destination exists; 400
	ModMissing          ModMissing          // what mod of a missing destination does
	DelMissingOK        bool                // del of a missing destination succeeds
	ExactSpelling       bool                // mod and del find a destination only as it is spelled in the table
	Respell             func(string) string // how an added destination is stored; nil: as sent. See [LongForm]
	CheckNextHop        bool                // the next hop of an ecs route must be a server of the table's VPC
	RefuseIPv6          map[string]bool     // by table id: IPv6 destinations are VPC.2809; nil accepts them
	KeepPart            bool                // a refused PUT keeps the operations before the bad one
	Contended           int                 // status of a PUT while another one to the table is under way; 0: they queue
	PutAnswer           PutAnswer           // what a PUT answers
	RoutesVanish        bool                // DeleteServer removes the ecs routes to that server
}

func defaults() Knobs {
	return Knobs{
		Region: "eu-de", TokenSize: 1600, TokenLifetime: 24 * time.Hour, UnknownProject: 401,
		LockoutFailures: 5, LockoutWindow: 15 * time.Minute, LockoutTime: 15 * time.Minute,
		TableLimit: 200, FullStatus: 409, DuplicateStatus: 400,
	}
}

// A BadToken says who notices a missing, expired, revoked or unknown token.
type BadToken int

// Values of BadToken.
const (
	BadTokenService BadToken = iota // VPC.0008, Common.0013
	BadToken0301                    // APIGW.0301
	BadToken0307                    // APIGW.0307
)

// A Denial says how a missing permission shows.
type Denial int

// Values of Denial.
const (
	DenyPolicy Denial = iota // 403 VPC.2201, Pdp.0001 or IAM.0003
	DenyNova                 // 403 in the shape of Nova
	DenyEmpty                // 200 with an empty list; DenyPolicy where the call is no list
)

// A Limit allows N calls in any window of length Per.
type Limit struct {
	N   int
	Per time.Duration
}

// A RetryAfter says whether and how a 429 names the time to wait.
type RetryAfter int

// Values of RetryAfter.
const (
	RetryAfterNone RetryAfter = iota
	RetryAfterSeconds
	RetryAfterDate
)

// A ModMissing says what mod does when the table has no such destination.
type ModMissing int

// Values of ModMissing.
const (
	ModMissingFails ModMissing = iota
	ModMissingAdds
	ModMissingIgnored
)

// A PutAnswer says what a successful PUT to a route table answers.
type PutAnswer int

// Values of PutAnswer.
const (
	PutAnswerPartial PutAnswer = iota // only the added routes, and no name, like the documented sample
	PutAnswerStale                    // the whole table as it was before
	PutAnswerWhole                    // the whole table as it is now
)
