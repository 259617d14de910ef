package live

import (
	"context"
	"strings"
)

// A question is something that the documents of the cloud leave open, or that only the
// cloud itself can confirm.
type question struct {
	name    string
	assumed string // what the simulator answers and the program is built for
	ask     func(ctx context.Context, r *run) (seen string)
	keep    bool // what it wrote stays for the next question
}

// questions is the only list of what is assumed about the cloud. Those that cannot be
// asked without harm are in it, too.
func questions() []question {
	return []question{
		{"login, by password or ID token as set", "201, token in X-Subject-Token, valid for 24h0m0s", login, false},
		{"catalog of that login", "nested: compute, ecs, identity, network, vpc", catalog, false},
		{"a route table that does not exist", "404 VPC.2808", noTable, false},
		{"an instance that does not exist", "404 Ecs.0114", noInstance, false},
		{"a token that was never issued, at VPC and ECS", "401 VPC.0008, 401 Common.0013", badToken, false},
		{"a missing permission (ecs:cloudServers:listServerInterfaces)", "403 Pdp.0001", forbidden, false},
		{"header with the request id", "X-Request-Id, of an error X-Request-Id", requestID, false},
		{"quota of routes in a table", "200", quota, false},
		{"members of a route table", "created_at default description id name routes subnets tenant_id updated_at vpc_id", members("table", "routetable"), false},
		{"members of a route table in a list", "created_at default description id name routes subnets tenant_id updated_at vpc_id", members("tables", "routetables.0"), false},
		{"next hop of a local route", `"-"`, localHop, false},

		{"10 reads at once after a write: how many lack it", "0", readsAfterWrite, true},
		{"routes in the answer to a write", "the added ones", firstWrite, true},
		{"add a route that is there, to the same next hop", "400 VPC.2812", writes("add 0"), true},
		{"one bad route among good ones (a duplicate)", "nothing is applied", partial, false},
		{"add a route to a next hop that does not exist", "200", unknownHop, true},
		{"add a route that is there, to another next hop", "400 VPC.2812", otherHop, false},
		{"delete and add of one destination in one write", "200", deleteAndAdd, true},
		{"modify without a description", "it is emptied", modify, false},

		{"modify a route that is not there", "400 VPC.2809", writes("mod 1"), true},
		{"delete a route that is not there", "400 VPC.2809", writes("del 2"), true},
		{"a destination twice in one write", "400 VPC.2809", writes("add 3 3"), true},
		{"a bare address as destination", "400 VPC.2809", bareAddress, true},
		{"description of 256 characters", "400 VPC.2809", described(4, strings.Repeat("x", 256-len(mark))), true},
		{"description with angle brackets", "400 VPC.2809", described(5, "<x>"), true},
		{"description of 255 characters", "200, shown as sent", described(6, strings.Repeat("x", 255-len(mark))), true},
		{"description of 255 characters in more bytes", "200, shown as sent", described(7, strings.Repeat("é", 255-len(mark))), true},
		{"destination with host bits set", "200, shown as sent", hostBits, true},
		{"delete by another spelling of the destination", "200", otherSpelling, true},
		{"IPv6 destination in canonical form", "200, shown as sent", ipv6(10, false), true},
		{"IPv6 destination in full length and capitals", "200, shown as sent", ipv6(11, true), false},

		{"2, 5, 6, 10 and 50 operations in one write", "all are applied", operations, false},
		{"order of the routes in a read", "local ones first, then as added", order, false},
		{"routes that fit into a table", "as many as the quota says", fill, true},
		{"one more than fit", "409 VPC.0114", oneMore, true},
		{"delete and add in one write to a full table", "200", moveWhenFull, false},

		{"add a route that overlaps a subnet of the VPC", "400 VPC.2809", never("nothing is written outside LIVE_CIDR"), false},
		{"routes of peering and Direct Connect", "they count towards the quota", never("it takes a table in use"), false},
		{"route to an instance that is deleted", "it stays", never("no instance is deleted"), false},
		{"IPv6 route; instance with several NICs", "traffic goes to the primary NIC", never("it takes traffic"), false},
		{"permission to read an instance", "ecs:cloudServers:showServer; ecs:cloudServers:get is not enough", never("it takes a user who has only the latter"), false},
		{"too many calls", "429 APIGW.0308 without Retry-After", never("it takes hundreds of calls; a run that meets it ends and shows it"), false},
		{"token of another region", "401 APIGW.0307", never("it takes a second region"), false},
		{"failed logins", "five within 15 minutes lock the user", never("it would lock the user"), false},
		{"route tables in eu-ch2, whose documents lack them", "as in the other regions", inCH2, false},
	}
}

const notAsked = "not asked: "

func never(why string) func(context.Context, *run) string {
	return func(context.Context, *run) string { return notAsked + why }
}

// A Row is a question with its answer.
type Row struct {
	Question string `json:"question"`
	Assumed  string `json:"assumed"`
	Seen     string `json:"seen"`
}

// Mark is ✅ for what was assumed, ≠ for another answer, – for none.
func (r Row) Mark() string {
	switch {
	case strings.HasPrefix(r.Seen, notAsked):
		return "–"
	case r.Seen == r.Assumed:
		return "✅"
	}
	return "≠"
}
