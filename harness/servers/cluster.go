package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
)

const (
	clusterMasters = 3
	clusterSlots   = 16384
)

// startCluster starts three masters with a replica each, and returns when all
// slots are served and replicated.
func (r *Redises) startCluster(ctx context.Context, bin string) error {
	for range 2 * clusterMasters {
		// The bus' port is one that FreePort gave: by default it is the server's
		// plus 10 000, where the ports of outgoing connections are.
		bus, err := FreePort()
		if err != nil {
			return err
		}
		if _, err := r.start(ctx, bin, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", fmt.Sprint(bus),
			"--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0"); err != nil {
			return err
		}
	}
	masters, replicas := r.nodes[:clusterMasters], r.nodes[clusterMasters:]
	ids := make([]string, clusterMasters)
	err := each(masters, func(i int, c *redis.Client) error {
		from, to := i*clusterSlots/clusterMasters, (i+1)*clusterSlots/clusterMasters-1
		if err := c.ClusterAddSlotsRange(ctx, from, to).Err(); err != nil {
			return err
		}
		// A configuration epoch of its own: two that are equal are settled by a
		// conflict, later.
		if err := c.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			return err
		}
		var err error
		ids[i], err = c.Do(ctx, "CLUSTER", "MYID").Text()
		return err
	})
	if err != nil {
		return fmt.Errorf("giving slots to masters: %w", err)
	}
	if err := withClient(masters[0], func(c *redis.Client) error { return r.meet(ctx, c) }); err != nil {
		return err
	}
	if err := eventually(ctx, "every server knows every other", func(ctx context.Context) error {
		return each(r.nodes, func(_ int, c *redis.Client) error {
			info, err := c.ClusterInfo(ctx).Result()
			if err == nil && (!strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d\r", len(r.nodes))) || !strings.Contains(info, "cluster_state:ok")) {
				err = errors.New("not yet")
			}
			return err
		})
	}); err != nil {
		return err
	}
	if err := each(replicas, func(i int, c *redis.Client) error { return c.ClusterReplicate(ctx, ids[i]).Err() }); err != nil {
		return fmt.Errorf("making replicas: %w", err)
	}
	r.url = "redis+cluster://" + strings.Join(addresses(r.nodes), ",")
	return eventually(ctx, "every master has its replica", func(ctx context.Context) error {
		return each(r.nodes, func(i int, c *redis.Client) error {
			info, err := c.Info(ctx, "replication").Result()
			want := "connected_slaves:1"
			if i >= clusterMasters {
				want = "master_link_status:up"
			}
			if err == nil && !strings.Contains(info, want) {
				err = fmt.Errorf("server %d has no %s", i, want)
			}
			return err
		})
	})
}

// meet has one server introduce itself to all others, with their buses' ports.
func (r *Redises) meet(ctx context.Context, first *redis.Client) error {
	for _, s := range r.nodes[1:] {
		host, port, _ := net.SplitHostPort(strings.TrimPrefix(s.URL(), "redis://"))
		bus := ""
		for i, arg := range s.instance.(*redisServer).more {
			if arg == "--cluster-port" {
				bus = s.instance.(*redisServer).more[i+1]
			}
		}
		if err := first.Do(ctx, "CLUSTER", "MEET", host, port, bus).Err(); err != nil {
			return fmt.Errorf("CLUSTER MEET: %w", err)
		}
	}
	return nil
}

// Owner is the address of the master that has a key's slot, as the first server
// says that answers.
func (r *Redises) Owner(ctx context.Context, key string) (address string, err error) {
	slot, err := r.slot(ctx, key)
	if err != nil {
		return "", err
	}
	for _, s := range r.nodes {
		err = withClient(s, func(c *redis.Client) error {
			address, err = ownerOf(ctx, c, int64(slot))
			return err
		})
		if err == nil {
			return address, nil
		}
	}
	return "", fmt.Errorf("no server of the cluster says who has slot %d: %w", slot, err)
}

// ownerOf is who has a slot in the eyes of one server.
func ownerOf(ctx context.Context, c *redis.Client, slot int64) (address string, err error) {
	shards, err := c.ClusterShards(ctx).Result()
	if err != nil {
		return "", err
	}
	for _, shard := range shards {
		for _, slots := range shard.Slots {
			if slot < slots.Start || slot > slots.End {
				continue
			}
			for _, node := range shard.Nodes {
				if node.Role == "master" && node.Health == "online" {
					return net.JoinHostPort(node.IP, fmt.Sprint(node.Port)), nil
				}
			}
		}
	}
	return "", fmt.Errorf("no master that is online has slot %d", slot)
}

func (r *Redises) slot(ctx context.Context, key string) (slot int, err error) {
	for _, s := range r.nodes {
		err = withClient(s, func(c *redis.Client) error {
			n, err := c.ClusterKeySlot(ctx, key).Result()
			slot = int(n)
			return err
		})
		if err == nil {
			return slot, nil
		}
	}
	return 0, err
}

// Move gives the slot of a key to another master, with everything in it, while
// clients go on: they are redirected by ASK and then by MOVED.
func (r *Redises) Move(ctx context.Context, key string) error {
	slot, err := r.slot(ctx, key)
	if err != nil {
		return err
	}
	owner, err := r.Owner(ctx, key)
	if err != nil {
		return err
	}
	source, err := r.Node(owner)
	if err != nil {
		return err
	}
	target := r.nodes[0]
	if target == source {
		target = r.nodes[1]
	}
	if err := withClient(source, func(from *redis.Client) error {
		return withClient(target, func(to *redis.Client) error { return moveSlot(ctx, slot, from, to) })
	}); err != nil {
		return err
	}
	// A replica that has not heard of it could not take over for the new owner.
	return eventually(ctx, "every server knows the new owner", func(ctx context.Context) error {
		return each(r.nodes, func(_ int, c *redis.Client) error {
			now, err := ownerOf(ctx, c, int64(slot))
			if err == nil && now == owner {
				err = errors.New("the old one is named still")
			}
			return err
		})
	})
}

// moveSlot is what `redis-cli --cluster reshard` does for one slot.
func moveSlot(ctx context.Context, slot int, from, to *redis.Client) error {
	fromID, err := from.Do(ctx, "CLUSTER", "MYID").Text()
	if err != nil {
		return err
	}
	toID, err := to.Do(ctx, "CLUSTER", "MYID").Text()
	if err != nil {
		return err
	}
	if err := to.Do(ctx, "CLUSTER", "SETSLOT", slot, "IMPORTING", fromID).Err(); err != nil {
		return fmt.Errorf("importing slot %d: %w", slot, err)
	}
	if err := from.Do(ctx, "CLUSTER", "SETSLOT", slot, "MIGRATING", toID).Err(); err != nil {
		return fmt.Errorf("migrating slot %d: %w", slot, err)
	}
	host, port, err := net.SplitHostPort(to.Options().Addr)
	if err != nil {
		return err
	}
	for {
		keys, err := from.ClusterGetKeysInSlot(ctx, slot, 100).Result()
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			break
		}
		args := []any{"MIGRATE", host, port, "", 0, 5000, "KEYS"}
		for _, key := range keys {
			args = append(args, key)
		}
		if err := from.Do(ctx, args...).Err(); err != nil {
			return fmt.Errorf("moving %d keys of slot %d: %w", len(keys), slot, err)
		}
	}
	// The new owner first: were it the other way, the slot would be nobody's.
	for _, c := range []*redis.Client{to, from} {
		if err := c.Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", toID).Err(); err != nil {
			return fmt.Errorf("giving slot %d away: %w", slot, err)
		}
	}
	return nil
}
