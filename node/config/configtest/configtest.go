// Package configtest holds what the program must refuse as a setting, for the
// tests of everything that asks for settings.
package configtest

import "strings"

// A Bad value is refused with a problem that names the variable and has Says in
// it. Cure is what the problem must say is wanted.
type Bad struct{ Name, Value, Says, Cure string }

// BadValues returns a row for each way in which a value can be wrong. Each is
// refused beside any other settings. "hush" in a value must not be repeated.
func BadValues() []Bad {
	const (
		url        = "https://iam.eu-de.otc.t-systems.com"
		table      = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
		auth       = "want the IAM URL, for example https://"
		boolean    = "want true or false"
		interval   = "want 0, or 10s to 24h"
		cidr       = "want the cluster network, for example 10.128.0.0/14"
		tables     = "want the id of the VPC's route table, a UUID"
		secrets    = "make create-secrets sets it"
		proxy      = "want a URL such as http://proxy.example.com:3128"
		exceptions = "want host names, addresses and CIDRs, comma separated; make create-configmap sets it"
	)
	return []Bad{
		{"OS_PASSWORD", "", "is missing", secrets},
		{"OS_PASSWORD", "  \n", "is missing", secrets},
		{"OS_PASSWORD", "your-password", "placeholder", secrets},
		{"OS_PASSWORD", "REPLACE\n", "placeholder", secrets},
		{"OS_PASSWORD", "hush\nsecond", "more than one line", secrets},
		{"OS_PASSWORD", "hush\r\nsecond\r\n", "more than one line", secrets},
		{"OS_PASSWORD", "hush\tinside", "invisible character U+0009", secrets},
		{"OS_PASSWORD", "hush\x1b[2J", "invisible character U+001B", secrets},
		{"OS_PASSWORD", "\ufeffhush", "invisible character U+FEFF", secrets},
		{"OS_PASSWORD", "hush\xe4", "not UTF-8", secrets},
		{"OS_PASSWORD", " your-password ", "placeholder", secrets},
		{"OS_USERNAME", "your-service-user", "placeholder", secrets},
		{"OS_USERNAME", "svc\u200bnodes", "invisible character U+200B", secrets},
		{"OS_DOMAIN_NAME", "your-domain", "placeholder", secrets},
		{"OS_PROJECT_NAME", "your-project", "placeholder", secrets},
		{"OS_PROJECT_ID", "0123456789abcdef", "is malformed", "want a project id of 32 hex digits"},
		{"OS_PROJECT_ID", table, "is malformed", "want a project id of 32 hex digits"},
		{"OS_REGION_NAME", "eu-de,eu-nl", "is malformed", "for example eu-de"},
		{"OS_REGION_NAME", "eu-de eu-nl", "is malformed", "for example eu-de"},
		{"OS_REGION_NAME", "EU-DE", "is malformed", "for example eu-de"},
		{"OS_REGION_NAME", `"eu-de"`, "is malformed", "for example eu-de"},
		{"OS_CACERT", "/etc/passwd", "no PEM certificate", "want a file with certificates"},
		{"OS_CACERT", "/nonexistent/ca.pem", "no such file", "want a file with certificates"},
		{"OS_AUTH_URL", "iam.eu-de.otc.t-systems.com", "no host", auth},
		{"OS_AUTH_URL", "http://iam.example.com/v3", "not https", auth},
		{"OS_AUTH_URL", "https://user:hush@iam.example.com/v3", "credentials", auth},
		{"OS_AUTH_URL", "https://user:hush@[::1/v3", "credentials", auth},
		{"OS_AUTH_URL", url + "/v3?a=b", "query", auth},
		{"OS_AUTH_URL", url + "/v3?", "query", auth},
		{"OS_AUTH_URL", url + "/v3#", "fragment", auth},
		{"OS_AUTH_URL", url + "/v2.0", "another path than /v3", auth},
		{"OS_AUTH_URL", url + "/v3/auth/tokens", "another path than /v3", auth},
		{"OS_AUTH_URL", url + ":0/v3", "port outside 1-65535", auth},
		{"OS_AUTH_URL", url + ":65536/v3", "port outside 1-65535", auth},
		{"OS_AUTH_URL", url + ":/v3", "port outside 1-65535", auth},
		{"OS_AUTH_URL", url + ":iam/v3", "not a URL", auth},
		{"OS_AUTH_URL", `"` + url + `"`, "not a URL", auth},
		{"OS_AUTH_URL", url + `"`, "character that no URL has", auth},
		{"OTC_VPC_ENDPOINT", "vpc.example.com", "no host", "want a URL such as https://vpc."},
		{"OTC_VPC_ENDPOINT", "REPLACE", "placeholder", "want a URL such as https://vpc."},
		{"OTC_ECS_ENDPOINT", "https://ecs.example.com/'", "character that no URL has", "want a URL such as https://ecs."},
		{"OTC_ECS_ENDPOINT", "https://a:b@ecs.example.com", "credentials", "want a URL such as https://ecs."},
		{"ROUTE_TABLE_ID", "REPLACE", "placeholder", tables},
		{"ROUTE_TABLE_ID", "rtb-1", `"rtb-1" is not a UUID`, tables},
		{"ROUTE_TABLE_ID", table + ",", `"" is not a UUID`, tables},
		{"ROUTE_TABLE_ID", table + "," + strings.ToUpper(table), "is named twice", tables},
		{"CLUSTER_CIDR", "REPLACE", "placeholder", cidr},
		{"CLUSTER_CIDR", "10.128.0.0", "is not a CIDR", cidr},
		{"CLUSTER_CIDR", "10.128.0.0/14 10.132.0.0/14", "is not a CIDR", cidr},
		{"CLUSTER_CIDR", "10.128.4.0/14", "perhaps 10.128.0.0/14 is meant", cidr},
		{"CLUSTER_CIDR", "fd01::1/48", "perhaps fd01::/48 is meant", cidr},
		{"CLUSTER_CIDR", "0.0.0.0/0", "default route", cidr},
		{"CLUSTER_CIDR", "::/0", "default route", cidr},
		{"CLUSTER_CIDR", "10.128.0.0/32", "single address", cidr},
		{"CLUSTER_CIDR", "fd01::/128", "single address", cidr},
		{"CLUSTER_CIDR", "::ffff:10.128.0.0/110", "is not a CIDR", cidr},
		{"CLUSTER_CIDR", "10.128.0.0/14,10.128.0.0/14", "is named twice", cidr},
		{"CLUSTER_CIDR", "10.128.0.0/14, 10.129.0.0/16", "overlaps 10.128.0.0/14", cidr},
		{"CLUSTER_CIDR", "10.129.0.0/16,10.128.0.0/14", "overlaps 10.129.0.0/16", cidr},
		{"CLUSTER_CIDR", "100.64.0.0/16", "overlaps 100.64.0.0/10, which is reserved", cidr},
		{"CLUSTER_CIDR", "198.16.0.0/12", "overlaps 198.19.128.0/20, which is reserved", cidr},
		{"CLUSTER_CIDR", "127.0.0.0/16", "overlaps 127.0.0.0/8, which is reserved", cidr},
		{"CLUSTER_CIDR", "169.254.0.0/17", "overlaps 169.254.0.0/16, which is reserved", cidr},
		{"CLUSTER_CIDR", "239.0.0.0/8", "reserved", cidr},
		{"CLUSTER_CIDR", "0.0.0.0/2", "reserved", cidr},
		{"CLUSTER_CIDR", "fe80::/10", "overlaps fe80::/10, which is reserved", cidr},
		{"CLUSTER_CIDR", "ff00::/16", "overlaps ff00::/8, which is reserved", cidr},
		{"CLUSTER_CIDR", "::/1", "reserved", cidr},
		{"NODE_NAME", "Worker_1", "no name of a Node", "spec.nodeName"},
		{"METRICS_PORT", "http", "no port", "want a port from 1 to 65535"},
		{"METRICS_PORT", "65536", "no port", "want a port from 1 to 65535"},
		{"DRY_RUN", "REPLACE", "placeholder", boolean},
		{"DRY_RUN", "perhaps", `"perhaps" is neither true nor false`, boolean},
		{"DRIFT_REPAIR", "2", "neither true nor false", boolean},
		{"ORPHAN_CLEANUP", "yes", "neither true nor false", boolean},
		{"DRIFT_CHECK_INTERVAL", "often", "no duration", interval},
		{"DRIFT_CHECK_INTERVAL", "1.2.3s", "no duration", interval},
		{"DRIFT_CHECK_INTERVAL", "15", "no duration", interval},
		{"DRIFT_CHECK_INTERVAL", "-15m", "no duration", interval},
		{"DRIFT_CHECK_INTERVAL", "48h", "more than a day", interval},
		{"DRIFT_CHECK_INTERVAL", "999h", "more than a day", interval},
		{"DRIFT_CHECK_INTERVAL", "1ms", "less than 10s", interval},
		{"DRIFT_CHECK_INTERVAL", "9s", "less than 10s", interval},
		{"STARTUP_JITTER", "-1s", "no duration", "want 0, or a duration up to 24h"},
		{"STARTUP_JITTER", "25h", "more than a day", "want 0, or a duration up to 24h"},
		{"LOG_LEVEL", "loud", "no level", "want one of debug, info, warn, error"},
		{"LOG_FORMAT", "xml", "is malformed", "want one of text, json"},
		{"HTTPS_PROXY", "http://svc:hush%zz@proxy.example.com:3128", "no URL", proxy},
		{"HTTPS_PROXY", "http://svc:hu#sh@proxy.example.com:3128", "no URL", proxy},
		{"HTTPS_PROXY", "http://svc:hush/2@proxy.example.com:3128", "no URL", proxy},
		{"HTTPS_PROXY", "http://svc:12/hush@proxy.example.com:3128", "path, a query or a fragment", proxy},
		{"HTTPS_PROXY", "http://svc:12#hush@proxy.example.com:3128", "path, a query or a fragment", proxy},
		{"HTTPS_PROXY", "http://svc:12?hush@proxy.example.com:3128", "path, a query or a fragment", proxy},
		{"HTTPS_PROXY", `"http://127.0.0.1:3128"`, "no URL", proxy},
		{"HTTPS_PROXY", "'http://svc:hush@127.0.0.1:3128'", "no URL", proxy},
		{"HTTPS_PROXY", "http://svc:hush@proxy.example.com:3128\nhttp://b", "more than one line", proxy},
		{"HTTPS_PROXY", "ftp://svc:hush@proxy.example.com", "scheme", proxy},
		{"HTTPS_PROXY", "http://svc:hush@proxy.example.com:65536", "port outside 1-65535", proxy},
		{"HTTPS_PROXY", "http://svc:hush@proxy.example.com:", "port outside 1-65535", proxy},
		{"HTTPS_PROXY", "http://proxy example.com:3128", "no URL", proxy},
		{"HTTPS_PROXY", "http://proxy,example.com", "host", proxy},
		{"HTTPS_PROXY", "http:proxy.example.com:3128", "no URL", proxy},
		{"HTTPS_PROXY", "http://:3128", "host", proxy},
		{"HTTPS_PROXY", "http://svc@hush@:3128", "host", proxy},
		{"HTTPS_PROXY", "-", "host", proxy},
		{"HTTPS_PROXY", "REPLACE", "placeholder", proxy},
		{"NO_PROXY", "172.30.0.1 kubernetes.default.svc", "is neither a host name", exceptions},
		{"NO_PROXY", "172.30.0.1,https://kubernetes.default.svc", "is neither a host name", exceptions},
		{"NO_PROXY", "172.30.0.0/33", "is neither a host name", exceptions},
		{"NO_PROXY", "172.30.*", "is neither a host name", exceptions},
		{"NO_PROXY", "a;b", "is neither a host name", exceptions},
		{"NO_PROXY", "a:b", "is neither a host name", exceptions},
		{"NO_PROXY", "172.30.0.1\n172.30.0.2", "more than one line", exceptions},
	}
}
