# What setup knows about each value: what it is, where to find it, what a right one looks like.
# shellcheck shell=sh

about() {
	case $1 in
	OS_REGION_NAME) say '' 'Region of the cluster. OTC console: top left, beside the logo. eu-de, eu-nl or eu-ch2.' ;;
	OS_AUTH_URL) say '' 'Address of IAM:' \
		'    eu-de   https://iam.eu-de.otc.t-systems.com/v3' \
		'    eu-nl   https://iam.eu-nl.otc.t-systems.com/v3' \
		'    eu-ch2  https://iam-pub.eu-ch2.sc.otc.t-systems.com/v3' ;;
	OS_DOMAIN_NAME) say '' 'Account (domain) of the user, OTC and many digits.' \
		'OTC console: your name, top right > My Credentials > API Credentials > Account Name.' ;;
	OS_PROJECT_NAME) say '' 'Project of the cluster, for example eu-de_production.' \
		'OTC console: your name, top right > My Credentials > API Credentials > Projects.' ;;
	OS_USERNAME) say '' 'Service user, used by all nodes; the README lists the permissions it needs.' \
		'OTC console: Identity and Access Management > Users. Access type: programmatic.' ;;
	OS_PASSWORD) say '' 'Password of the service user. It is not shown, and never part of a command line.' ;;
	ROUTE_TABLE_ID) say '' 'Route table that gets the routes, a UUID; several with commas between.' \
		"OTC console: Virtual Private Cloud > Route Tables > the table of the clients' subnet > ID." ;;
	CLUSTER_CIDR) say '' 'Pod network of the cluster, for example 10.128.0.0/14; several with commas between.' \
		'Routes outside are never touched. On OpenShift: oc get network.config cluster -o yaml, clusterNetwork.' ;;
	esac
}

# matches VALUE REGEXP: the whole value matches. It reaches grep by a pipe, not as an argument.
matches() { printf '%s\n' "$1" | grep -Eqx -e "$2"; }

# wrong NAME VALUE says what is wrong with the value, or nothing.
wrong() {
	case $2 in
	*'
'*) say 'has a line break in it' && return ;;
	*your-* | *REPLACE*) say 'is still a placeholder' && return ;;
	esac
	uuid='[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}'
	case $1 in
	OS_AUTH_URL | OTC_VPC_ENDPOINT | OTC_ECS_ENDPOINT)
		matches "$2" '(https://[^/[:space:]]+|http://(localhost|127[.][0-9.]+|\[::1\])(:[0-9]+)?)(/[^[:space:]]*)?' ||
			say 'expected https://HOST/...; http only for a loopback address' ;;
	OS_REGION_NAME) matches "$2" '[a-z0-9-]+' || say 'expected a region such as eu-de' ;;
	ROUTE_TABLE_ID) matches "$2" "$uuid(,$uuid)*" ||
		say 'expected UUIDs such as 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0, commas between' ;;
	CLUSTER_CIDR) wrong_cidr "$2" ;;
	DRY_RUN | DRIFT_REPAIR | ORPHAN_CLEANUP) matches "$2" 'true|false' || say 'expected true or false' ;;
	DRIFT_CHECK_INTERVAL | STARTUP_JITTER) matches "$2" '0|([0-9.]+(ms|s|m|h))+' || say 'expected a duration such as 15m' ;;
	LOG_LEVEL) matches "$2" 'debug|info|warn|error' || say 'expected debug, info, warn or error' ;;
	LOG_FORMAT) matches "$2" 'text|json' || say 'expected text or json' ;;
	OS_CACERT) grep -q 'BEGIN CERTIFICATE' "$2" 2>/dev/null || say "expected a PEM file, cannot find a certificate in $2" ;;
	esac
}

# wrong_cidr LIST: IPv4 to the last bit, IPv6 by its look; the program itself checks the rest.
wrong_cidr() {
	printf '%s\n' "$1" | awk -F , '
		function address(text,    byte, i, n) {
			if (split(text, byte, ".") != 4) return -1
			for (i = 1; i <= 4; i++) {
				if (byte[i] !~ /^(0|[1-9][0-9]?[0-9]?)$/ || byte[i] > 255) return -1
				n = n * 256 + byte[i]
			}
			return n
		}
		function overlaps(a, size, reserved,    part, b) {
			split(reserved, part, "/")
			b = address(part[1])
			return a < b + 2 ^ (32 - part[2]) && b < a + size
		}
		function fault(cidr,    part, bits, a, size, i) {
			if (split(cidr, part, "/") != 2 || part[2] !~ /^[1-9][0-9]?[0-9]?$/) return "expected ADDRESS/BITS"
			bits = part[2] + 0
			if (part[1] ~ /:/) {
				if (part[1] ~ /[^0-9a-fA-F:.]/ || bits > 128) return "expected an IPv6 network such as fd01::/48"
				return ""
			}
			a = address(part[1])
			if (a < 0 || bits > 32) return "expected an IPv4 network such as 10.128.0.0/14"
			size = 2 ^ (32 - bits)
			if (a % size) return "has bits set behind the prefix"
			for (i = 1; i in taken; i++) if (overlaps(a, size, taken[i])) return "overlaps the reserved range " taken[i]
			return ""
		}
		BEGIN { split("100.64.0.0/10 198.19.128.0/20 127.0.0.0/8 169.254.0.0/16 224.0.0.0/4", taken, " ") }
		!NF { print "expected a network such as 10.128.0.0/14" }
		{ for (f = 1; f <= NF; f++) if ((why = fault($f)) != "") { print $f ": " why; exit } }'
}

# suggestion NAME: a value that is probably right.
suggestion() {
	case $1 in
	OS_REGION_NAME) say eu-de ;;
	OS_AUTH_URL)
		case $OS_REGION_NAME in
		eu-de | eu-nl) say "https://iam.$OS_REGION_NAME.otc.t-systems.com/v3" ;;
		eu-ch2) say https://iam-pub.eu-ch2.sc.otc.t-systems.com/v3 ;;
		esac ;;
	CLUSTER_CIDR) kc get network.config.openshift.io cluster -o 'jsonpath={.spec.clusterNetwork[*].cidr}' 2>/dev/null | tr ' ' ',' ;;
	esac
}
