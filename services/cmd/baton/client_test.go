package main

import (
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agreementv1 "github.com/leadbaton/baton/api/gen/baton/agreement/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	subscriptionv1 "github.com/leadbaton/baton/api/gen/baton/subscription/v1"
)

func TestExplain(t *testing.T) {
	c := clientFlags{GRPC: "127.0.0.1:4422"}
	unknown := func(service string) error { return status.Error(codes.Unimplemented, "unknown service "+service) }
	for _, x := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("subscribe: %w", status.Error(codes.InvalidArgument, "from_token is no token")), "from_token is no token"},
		{status.Error(codes.Unavailable, "the owner is changing"), "the owner is changing; try again in a moment"},
		{status.Error(codes.Unavailable, "the store does not answer; try again"), "the store does not answer; try again"},
		{unknown(leadv1.LeadService_ServiceDesc.ServiceName), "what answers at 127.0.0.1:4422 does not offer this: ask a scorer (--grpc)"},
		{unknown(agreementv1.AgreementService_ServiceDesc.ServiceName), "what answers at 127.0.0.1:4422 does not offer this: ask a router (--grpc)"},
		{unknown(subscriptionv1.SubscriptionService_ServiceDesc.ServiceName), "what answers at 127.0.0.1:4422 does not offer this: ask a notifier (--grpc)"},
		{
			status.Error(codes.Unimplemented, "unknown method Get"),
			"what answers at 127.0.0.1:4422 does not offer this: that service is not part of it, or it is another version of Baton (unknown method Get)",
		},
	} {
		if got := c.explain(x.err).Error(); got != x.want {
			t.Errorf("%v is explained as\n%s\nwant\n%s", x.err, got, x.want)
		}
	}
}
