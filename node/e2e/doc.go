// Package e2e holds the end-to-end tests: the real program with the rights of its ServiceAccount
// on a real control plane, with real kubectl and make; the cloud alone is pretended (otctest).
//
//	go test -count=1 -timeout 30m -v .
//
// The first run builds the control plane, which takes some minutes; see package controlplane.
// E2E_KEEP=1 leaves the folders with logs, keys and data of each test where they are.
package e2e
