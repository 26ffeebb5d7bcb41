package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/servers"
)

func topologyFaults() []Fault {
	return []Fault{
		{
			Number: 13, Name: "Sentinel failover", Interrupted: true, Topology: servers.Sentinel, Bound: 15 * time.Second,
			Promise: "commits again within 15 s of the primary's kill; nothing is lost of what was appended with WAIT 1",
			Run:     sentinelFailover,
		},
		{
			Number: 26, Name: "a master of a Redis Cluster killed", Interrupted: true, Topology: servers.Cluster, Bound: 15 * time.Second,
			Promise: "its shards are read again within 15 s, the others all the time; nothing is lost of what was appended with WAIT 1",
			Run:     clusterFailover,
		},
		{
			Number: 27, Name: "slots of a Redis Cluster moved", Interrupted: true, Topology: servers.Cluster, Bound: 15 * time.Second,
			Promise: "streams that move to another master, groups and pending entries with them, are read on; 0/0",
			Run:     slotsMoved,
		},
	}
}

// waitReplicas has the producer take an entry for acknowledged only when a
// replica has it: without that, a failover may lose it.
func (s *Scene) waitReplicas() { s.Producer.wait, s.Producer.waitFor = 1, 200*time.Millisecond }

// failover kills the server at an address and measures how long it takes until
// an entry that was appended to its successor is committed. The server then comes back.
func (s *Scene) failover(ctx context.Context, address, stream string, promoted func(context.Context) (string, error)) error {
	node, err := s.Stack.Redises.Node(address)
	if err != nil {
		return err
	}
	shards, err := s.shardsOn(ctx, stream)
	if err != nil {
		return err
	}
	if err := node.Kill(); err != nil {
		return err
	}
	killed := time.Now()
	if _, err := until(ctx, time.Minute, "a replica takes over for "+address, func(ctx context.Context) error {
		now, err := promoted(ctx)
		if err == nil && now == address {
			err = errors.New("none has")
		}
		return err
	}); err != nil {
		return err
	}
	elected := time.Since(killed)
	if _, err := s.Beyond(ctx, time.Minute, s.Producer.Position(), shards...); err != nil {
		return err
	}
	took := time.Since(killed)
	s.Recovered(took)
	// The new primary has no replica, and so nothing is acknowledged, before the
	// old one is back as one.
	if err := node.Restart(ctx); err != nil {
		return err
	}
	events := s.Producer.Events()
	if _, err := until(ctx, time.Minute, "entries are acknowledged again", func(context.Context) error {
		if s.Producer.Events() == events {
			s.Producer.mu.Lock()
			defer s.Producer.mu.Unlock()
			return fmt.Errorf("none is (%w)", s.Producer.lastErr)
		}
		return nil
	}); err != nil {
		return err
	}
	s.Note("a replica was elected after %s, commits went on after %s, the old primary served as a replica after %s",
		duration(elected), duration(took), duration(time.Since(killed)))
	return nil
}

// shardsOn are the shards whose streams live where this one does; without a
// cluster all of them.
func (s *Scene) shardsOn(ctx context.Context, stream string) (shards []int32, err error) {
	home := ""
	if stream != "" {
		if home, err = s.Stack.Redises.Owner(ctx, stream); err != nil {
			return nil, err
		}
	}
	for shard := range s.Keys.Shards() {
		owner := ""
		if stream != "" {
			if owner, err = s.Stack.Redises.Owner(ctx, s.Keys.Events(shard)); err != nil {
				return nil, err
			}
		}
		if owner == home {
			shards = append(shards, int32(shard))
		}
	}
	return shards, nil
}

func sentinelFailover(ctx context.Context, s *Scene) error {
	s.waitReplicas()
	if _, err := s.StartWorker(ctx, "one"); err != nil {
		return err
	}
	s.Producer.Start(s.Rate())
	times := Pick(s, 1, 5)
	if s.Long {
		times = 50
	}
	for range times {
		if err := s.UnderLoad(ctx); err != nil {
			return err
		}
		primary, err := s.Stack.Redises.Primary(ctx)
		if err != nil {
			return err
		}
		if err := s.failover(ctx, primary, "", s.Stack.Redises.Primary); err != nil {
			return err
		}
		// Sentinel does not begin another failover before twice its timeout.
		if err := s.calm(ctx, times); err != nil {
			return err
		}
	}
	return s.noDead(ctx)
}

// calm waits between two failovers, not after the last one.
func (s *Scene) calm(ctx context.Context, times int) error {
	if times == 1 {
		return nil
	}
	return pause(ctx, 13*time.Second)
}

func clusterFailover(ctx context.Context, s *Scene) error {
	s.waitReplicas()
	if _, err := s.StartWorker(ctx, "one"); err != nil {
		return err
	}
	s.Producer.Start(s.Rate())
	times := Pick(s, 1, 5)
	for i := range times {
		if err := s.UnderLoad(ctx); err != nil {
			return err
		}
		stream := s.Keys.Events(i)
		owner := func(ctx context.Context) (string, error) { return s.Stack.Redises.Owner(ctx, stream) }
		master, err := owner(ctx)
		if err != nil {
			return err
		}
		if err := s.failover(ctx, master, stream, owner); err != nil {
			return err
		}
		if err := s.calm(ctx, times); err != nil {
			return err
		}
	}
	return s.noDead(ctx)
}

func slotsMoved(ctx context.Context, s *Scene) error {
	if _, err := s.StartWorker(ctx, "one"); err != nil {
		return err
	}
	s.Producer.Start(s.Rate())
	for shard := range Pick(s, 4, s.Keys.Shards()) {
		if err := s.UnderLoad(ctx); err != nil {
			return err
		}
		if err := s.Stack.Redises.Move(ctx, s.Keys.Events(shard)); err != nil {
			return err
		}
		took, err := s.Beyond(ctx, time.Minute, s.Producer.Position(), int32(shard))
		if err != nil {
			return err
		}
		s.Recovered(took)
	}
	return s.noDead(ctx)
}
