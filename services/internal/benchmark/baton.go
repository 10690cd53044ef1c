package benchmark

import (
	"context"
	"crypto/rand"
	"fmt"

	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/leadbaton/baton/api/client"
	agreementv1 "github.com/leadbaton/baton/api/gen/baton/agreement/v1"
	rosterv1 "github.com/leadbaton/baton/api/gen/baton/roster/v1"
)

// baton is one process of each service.
type baton struct {
	scorer, router, notifier *process
	atRouter, atNotifier     *grpc.ClientConn
}

func (r *run) startService(name string, args ...string) (*process, string, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, "", err
	}
	p, err := r.bed.start(name, nil, r.Baton, append([]string{name, "--grpc", address, "--http", "off", "--log-level", "warn"}, args...)...)
	return p, address, err
}

func (r *run) startScorer(nats, redis string) (*process, string, error) {
	return r.startService("scorer", "--nats", nats, "--redis", redis)
}

// startBaton starts all services and waits until they work.
func (r *run) startBaton(ctx context.Context, nats, redis string) (*baton, error) {
	b := &baton{}
	if err := r.startAll(ctx, b, nats, redis); err != nil {
		b.stop()
		return nil, err
	}
	return b, nil
}

func (r *run) startAll(ctx context.Context, b *baton, nats, redis string) (err error) {
	var scorer, router, notifier string
	if b.scorer, scorer, err = r.startScorer(nats, redis); err != nil {
		return err
	}
	if b.notifier, notifier, err = r.startService("notifier", "--nats", nats); err != nil {
		return err
	}
	if b.router, router, err = r.startService("router", "--nats", nats, "--notifier", notifier); err != nil {
		return err
	}
	if b.atRouter, err = client.Dial(router); err != nil {
		return err
	}
	if b.atNotifier, err = client.Dial(notifier); err != nil {
		return err
	}
	atScorer, err := client.Dial(scorer)
	if err != nil {
		return err
	}
	defer atScorer.Close()
	for p, conn := range map[*process]*grpc.ClientConn{b.scorer: atScorer, b.router: b.atRouter, b.notifier: b.atNotifier} {
		err := p.until(ctx, "being ready", func() bool {
			h, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
			return err == nil && h.GetStatus() == healthv1.HealthCheckResponse_SERVING
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// enforce puts agreement and roster in force; each shard has the agreement when it returns.
func (b *baton) enforce(ctx context.Context) error {
	_, err := agreementv1.NewAgreementServiceClient(b.atRouter).Activate(ctx, &agreementv1.ActivateRequest{RequestId: rand.Text(), Document: Agreement()})
	if err != nil {
		return fmt.Errorf("the agreement is not put in force: %s", status.Convert(err).Message())
	}
	if _, err = rosterv1.NewRosterServiceClient(b.atRouter).Apply(ctx, &rosterv1.ApplyRequest{RequestId: rand.Text(), Document: Roster()}); err != nil {
		return fmt.Errorf("the roster is not put in force: %s", status.Convert(err).Message())
	}
	return nil
}

// stop stops the services; it may be called twice.
func (b *baton) stop() {
	for _, c := range []*grpc.ClientConn{b.atRouter, b.atNotifier} {
		if c != nil {
			_ = c.Close()
		}
	}
	for _, p := range []*process{b.router, b.scorer, b.notifier} {
		if p != nil {
			p.stop()
		}
	}
}
