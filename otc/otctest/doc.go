// Package otctest is a fake Open Telekom Cloud: the part of IAM, VPC and
// ECS that decides about routes, with the state, the wire format and the
// oddities of the real one. It is not a client and knows none.
//
// A [Server] is an http.Handler for a real socket and an http.RoundTripper for
// tests whose clock testing/synctest holds: it waits with package time only,
// gives up when a request's context is done, and starts no goroutine but the
// timer of a request that a [Fault] makes late. State goes in by methods such as [Server.AddServer], the route table comes out by
// [Server.Routes], and [Server.Requests] tells what was asked.
//
//	cloud := otctest.New()
//	cloud.AddServer(otctest.Instance{ID: id, Name: "worker-1", Fixed: []string{"10.20.0.11"}})
//	cloud.Set(func(k *otctest.Knobs) { k.StaleReads = 5 * time.Second })
//	cloud.Fail(otctest.Fault{Op: otctest.OpTableUpdate, Applied: true, Reset: true})
//	client := &http.Client{Transport: cloud}
//
// # Where a request ends
//
// Services are told apart by path, not by host. A login at iam.REST or
// iam-pub.REST gets a catalog of https://vpc.REST and https://ecs.REST, and a
// token that vpc. and ecs. of any other REST refuse; a login at any other host
// gets a catalog of that same scheme and host.
//
// A request passes, in this order: the log of [Server.Requests], the faults,
// the known paths, the token, the rate limits, the project in the path, the
// permission. What the documentation of the cloud leaves open is a field of
// [Knobs], and its default is the likeliest or, among equals, the least kind
// behaviour.
//
// # Traps
//
// Where a client can stumble over the cloud, and what sets the trap:
//
//	 1  login answers 201, the token is in a header   always; Knobs.TokenSize
//	 2  wrong passwords lock the user                  always; Knobs.Lockout…
//	 3  token dies before its time                     RevokeTokens, Knobs.TokenLifetime, Knobs.BadToken
//	 4  a 401 that a new token does not cure           Knobs.Restricted
//	 5  IAM refuses a stale token with 403             Knobs.IAMForbids
//	 6  old and new tokens are valid at once           always; Count(OpLogin) shows a stampede
//	 7  catalogs of all kinds                          Knobs.NoCatalog, FlatCatalog, Catalog
//	 8  host names of eu-ch2, token of another region  the host of the login
//	 9  404 that is not about the resource             always: empty project, trailing slash
//	10  another project in the path is 400             always; AddProject
//	11  no permission looks like an empty list         Knobs.Deny with DenyEmpty
//	12  ECS throttles with status 202                  Knobs.FlowLimit with a limit, or Fault{Status: 202}
//	13  ECS fails with status 400                      Fault{Status: 400, Code: "Ecs.1000"}
//	14  shapes of errors                               Fault.Shape, Fault.Body, Knobs.SwapCode
//	15  429 with and without Retry-After               Knobs.Requests, Knobs.Writes, Knobs.RetryAfter
//	16  searching by name and ip is fuzzy              always
//	17  offset is a page number, 25 servers a page     always
//	18  servers change between two pages               Fault{After: 1, Before: …}
//	19  addresses by VPC, mixed, several NICs          Instance, Knobs.NumericVersion
//	20  server in another VPC or with two NICs         Instance.VPCID, Instance.NICs
//	21  local and foreign routes, odd members, order   AddTable, Knobs.NullNextHop, NoDefault, ExtraMembers, Shuffle
//	22  PUT answers with a part, or what was           Knobs.PutAnswer
//	23  adding what exists                             always; Knobs.DuplicateStatus
//	24  two operations on one destination              always; Knobs.AddFirst
//	25  more than 5 routes in a request                Knobs.MaxRoutesPerRequest
//	26  one bad route fails the PUT                    always
//	27  a PUT is applied in part                       Fault.ApplyFirst, Knobs.KeepPart
//	28  a PUT is applied and the answer lost           Fault.Applied with Reset, Err, Hang, Delay or Status
//	29  the table is full                              Knobs.TableLimit, CountLocal, FullStatus
//	30  another writer                                 PutRoute, DeleteRoute, Fault.Before; Knobs.Contended
//	31  server deleted, or replaced                    DeleteServer, AddServer, Knobs.RoutesVanish, CheckNextHop
//	32  reads are stale after a PUT                    Knobs.StaleReads
//	33  destinations in another spelling               always as sent; Knobs.Respell, ExactSpelling
//	34  a later subnet swallows a destination          AddSubnet
//	35  a table that serves no subnet                  AddTable, Subnet.TableID
//	36  delivered routes cannot be changed             always; SetRoutes with type vpn, dc or egw
//	37  mod and del of what is missing                 Knobs.ModMissing, Knobs.DelMissingOK
//	38  slow, cut and broken answers                   Fault.Delay, Hang, Slow, Truncate, Keep, Reset
//	39  IAM fails over                                 Fault{Op: OpLogin, Status: 410 or 503}
//	40  table gone, or API gone                        DeleteTable; Knobs.NoTableAPI
//	41  HTTP/2 resets a stream after the whole body    Fault{Applied: true, Reset: true} behind a socket that speaks it
//	42  a PUT is executed after the client gave up     Fault.Late, alone or with Status, Err or Reset
//	43  a late delete takes a new owner's route        Fault.Late; Fault.Before with PutRoute
//	44  ECS forgets everything for a while             Knobs.Amnesia
//	45  a page of servers is larger than 1 MiB         Knobs.UserDataSize
//	46  an error text holds what was sent              Fault.Echo
//	47  control characters in an error                 Fault.Code and Message, or Body
//	48  two wrong passwords in turn; an empty one      always: they lock together; it is 400 and does not count
//	49  a page where the cloud should answer           Fault.Shape ShapeHTML and ShapeEmpty, or Body
//	50  one odd server in a list                       Fault.Body
//	51  ID token expired, for another audience, …      SetIdentityProvider, TokenIssuer
package otctest
