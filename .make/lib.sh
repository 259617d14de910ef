# What the cluster targets share. The Makefile gives KUBECTL, NAMESPACE, NODE and IMAGE.
# shellcheck shell=sh
secret=otc-credentials
config=otc-route-manager-config
secret_names='OS_DOMAIN_NAME OS_PROJECT_NAME OS_USERNAME OS_PASSWORD'
config_names='OS_REGION_NAME OS_AUTH_URL ROUTE_TABLE_ID CLUSTER_CIDR'
# shellcheck disable=SC2034 # used where this is included
ours=app.kubernetes.io/name=otc-route-manager
created=otc-route-manager/created # annotation of a namespace that make has created

# say prints each argument on a line.
say() { printf '%s\n' "$@"; }

die() {
	printf '❌ %s\n' "$*" >&2
	exit 1
}

# kc is kubectl in our namespace. $KUBECTL may hold options. A read that the API server does not
# answer within 30 s has failed.
# shellcheck disable=SC2086
kc() {
	case $1 in
	get) shift && $KUBECTL -n "$NAMESPACE" get --request-timeout=30s "$@" ;;
	*) $KUBECTL -n "$NAMESPACE" "$@" ;;
	esac
}

# client ends the script unless kubectl is there and NAMESPACE can be ours alone.
client() {
	command -v "${KUBECTL%% *}" >/dev/null || die "${KUBECTL%% *} is not installed. KUBECTL=oc uses another client"
	case $NAMESPACE in
	default | kube-* | openshift | openshift-*) die "NAMESPACE=$NAMESPACE belongs to the cluster; choose another" ;;
	'' | -* | *- | *[!a-z0-9-]*) die "NAMESPACE='$NAMESPACE' is not a name of a namespace" ;;
	esac
}

# here is client, and prints the cluster and the namespace.
here() {
	client
	say "ℹ️ cluster $(kc config view --minify -o 'jsonpath={.clusters[0].cluster.server}' 2>/dev/null || :), namespace $NAMESPACE"
}

# alone ends the script if the cluster-wide rights are bound to an installation somewhere else.
alone() {
	home=$(kc get clusterrolebinding otc-route-manager --ignore-not-found -o 'jsonpath={.subjects[0].namespace}') ||
		die 'cannot read clusterrolebinding otc-route-manager'
	case $home in
	'' | "$NAMESPACE") ;;
	*) die "it is installed in namespace $home: use NAMESPACE=$home, or run make undeploy NAMESPACE=$home first" ;;
	esac
}

# exists KIND NAME. An API server that does not answer ends the script: it must not look like "no".
exists() {
	found=$(kc get "$1" "$2" --ignore-not-found -o name) || die "cannot read $1 $2"
	[ -n "$found" ]
}

# installed ends the script if nothing is.
installed() { exists daemonset otc-route-manager || die "not installed: make deploy"; }

# make_namespace makes ours unless it is there, and remembers on it that we did.
make_namespace() {
	exists namespace "$NAMESPACE" && return
	docs=$(sh .make/render -only Namespace manifests.yaml)
	say "$docs" | $KUBECTL create --save-config -f -
	kc annotate namespace "$NAMESPACE" $created=true >/dev/null
}

# namespace_made: the namespace was created by make_namespace.
namespace_made() {
	[ "$(kc get namespace "$NAMESPACE" --ignore-not-found \
		-o "go-template={{with .metadata.annotations}}{{index . \"$created\"}}{{end}}")" = true ]
}

# filled KIND NAME: the keys that have a value, each with a space on both sides.
filled() {
	# shellcheck disable=SC2016
	kc get "$1" "$2" --ignore-not-found -o 'go-template={{range $k, $v := .data}}{{if $v}} {{$k}} {{end}}{{end}}'
}

# unfilled: the names that neither the Secret nor the ConfigMap has a value for.
unfilled() {
	keys=$(filled secret $secret)$(filled configmap $config)
	for name in $secret_names $config_names; do
		case $name$keys in
		*" $name "* | OS_PROJECT_NAME*" OS_PROJECT_ID "* | OS_[DU]*" OS_IDENTITY_PROVIDER "* | OS_PASSWORD*" OS_IDENTITY_PROVIDER "*) ;;
		*) printf ' %s' "$name" ;;
		esac
	done
}

# absent_kinds: those of our kinds that this cluster does not know. An API server that does not
# answer ends the script.
absent_kinds() {
	exists customresourcedefinition servicemonitors.monitoring.coreos.com || printf ' ServiceMonitor'
	exists customresourcedefinition prometheusrules.monitoring.coreos.com || printf ' PrometheusRule'
}
