# What setup knows about each value: what it is, where to find it, which is probably right. What is
# wrong with one the program itself says.
# shellcheck shell=sh
# shellcheck disable=SC2034 # used where this is included
optional_names='OS_PROJECT_ID HTTPS_PROXY NO_PROXY OTC_VPC_ENDPOINT OTC_ECS_ENDPOINT KUBE_OWN_NODE DRY_RUN DRIFT_CHECK_INTERVAL DRIFT_REPAIR ORPHAN_CLEANUP STARTUP_JITTER LOG_LEVEL LOG_FORMAT'

about() {
	case $1 in
	OS_REGION_NAME) say '' 'Region of the cluster. OTC console: top left, beside the logo. eu-de, eu-nl or eu-ch2.' ;;
	OS_AUTH_URL) say '' 'Address of IAM:' \
		'    eu-de   https://iam.eu-de.otc.t-systems.com/v3' \
		'    eu-nl   https://iam.eu-nl.otc.t-systems.com/v3' \
		'    eu-ch2  https://iam-pub.eu-ch2.sc.otc.t-systems.com/v3' ;;
	OS_IDENTITY_PROVIDER) say '' 'Login without a password: the name of the identity provider in IAM that takes ServiceAccount tokens' \
		'(any name; what to enter there is printed next). Enter alone: login by user and password.' ;;
	OS_DOMAIN_NAME) say '' 'Account (domain) of the user, OTC and many digits.' \
		'OTC console: your name, top right > My Credentials > API Credentials > Account Name.' ;;
	OS_PROJECT_NAME) say '' 'Project of the cluster, for example eu-de_production.' \
		'OTC console: your name, top right > My Credentials > API Credentials > Projects.' ;;
	OS_USERNAME) say '' 'Service user, used by all nodes; the README lists the permissions it needs.' \
		'OTC console: Identity and Access Management > Users. Access type: programmatic.' ;;
	OS_PASSWORD) say '' 'Password of the service user. It is not shown, and never part of a command line.' ;;
	ROUTE_TABLE_ID) say '' 'Route table that gets the routes, a UUID; comma-separated if several.' \
		"OTC console: Virtual Private Cloud > Route Tables > the table of the clients' subnet > ID." \
		"For clients in other VPCs, behind VPN or Direct Connect: the VPC's default table." ;;
	CLUSTER_CIDR) say '' 'Pod network of the cluster, for example 10.128.0.0/14; comma-separated if several.' \
		'Routes outside are never touched. On OpenShift: oc get network.config cluster -o yaml, clusterNetwork.' ;;
	esac
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
