package live

import (
	"net/netip"
	"time"

	"otc-route-manager/otc"
	"otc-route-manager/otc/otctest"
)

// Simulator returns a simulator in which all questions can be asked, and has c ask there:
// by ID token if c names an identity provider, else by password.
func (c *Config) Simulator(identityProvider string) *otctest.Server {
	cloud := otctest.New()
	subnet, addr := otctest.SubnetCIDR, "10.20.0.11"
	if c.Ranges[0].Overlaps(netip.MustParsePrefix(subnet)) {
		subnet, addr = "192.168.200.0/24", "192.168.200.11"
	}
	cloud.AddSubnet(otctest.VPCID, otctest.Subnet{ID: otctest.SubnetID, CIDR: subnet})
	cloud.AddTable(c.Table, "rtb-live", otctest.VPCID)
	cloud.AddServer(otctest.Instance{ID: c.Instance, Name: "live-1", Fixed: []string{addr}})
	cloud.Set(func(k *otctest.Knobs) {
		k.Deny = map[string]otctest.Denial{"ecs:cloudServers:listServerInterfaces": otctest.DenyPolicy}
	})
	login := otc.Credentials{User: otctest.User, Account: otctest.Account, Secret: otc.NewSecret(otctest.Password), ProjectName: otctest.Project}
	if identityProvider != "" {
		issuer := otctest.NewTokenIssuer("https://kubernetes.default.svc", "ES256")
		cloud.SetIdentityProvider(identityProvider, otctest.IdentityProvider{Issuer: issuer.URL, ClientID: "live", Keys: issuer.KeySet(), Subject: "live"})
		login = otc.Credentials{IdentityProvider: identityProvider, Secret: otc.NewSecret(issuer.Token("live", "live", time.Hour)), ProjectName: otctest.Project}
	}
	c.OTC.Transport, c.OTC.Credentials = cloud, func() (otc.Credentials, error) { return login, nil }
	return cloud
}
