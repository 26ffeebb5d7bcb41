package servers

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// sentinelMaster is the name of the primary in the sentinels' configuration.
const sentinelMaster = "chaos"

// startSentinel starts a primary, a replica of it, and three sentinels of which
// two must agree that the primary is gone.
func (r *Redises) startSentinel(ctx context.Context, bin string) error {
	primary, err := r.start(ctx, bin)
	if err != nil {
		return err
	}
	host, port, _ := net.SplitHostPort(addresses(r.nodes)[0])
	if _, err := r.start(ctx, bin, "--replicaof", host+" "+port); err != nil {
		return err
	}
	if err := eventually(ctx, "the replica has synchronised", func(ctx context.Context) error {
		return withClient(primary, func(c *redis.Client) error {
			info, err := c.Info(ctx, "replication").Result()
			if err == nil && !strings.Contains(info, "state=online") {
				err = fmt.Errorf("its primary says %q", info)
			}
			return err
		})
	}); err != nil {
		return err
	}
	conf := fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]s 2\nsentinel down-after-milliseconds %[1]s 1500\n"+
		"sentinel failover-timeout %[1]s 6000\nsentinel parallel-syncs %[1]s 1\n", sentinelMaster, host, port)
	for range 3 {
		s, err := startServer(ctx, func() (instance, error) {
			made, err := newRedis(bin)
			if err != nil {
				return nil, err
			}
			file := filepath.Join(made.dir, "sentinel.conf")
			if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
				return nil, err
			}
			if made.owner != nil {
				if err := os.Chown(file, int(made.owner.Uid), int(made.owner.Gid)); err != nil {
					return nil, err
				}
			}
			made.sentinel = file
			return made, nil
		})
		if err != nil {
			return fmt.Errorf("starting a sentinel: %w", err)
		}
		r.sentinels = append(r.sentinels, s)
	}
	r.url = "redis+sentinel://" + strings.Join(addresses(r.sentinels), ",") + "/" + sentinelMaster
	return eventually(ctx, "the sentinels know each other and the replica", func(ctx context.Context) error {
		return each(r.sentinels, func(_ int, c *redis.Client) error {
			known, err := c.Do(ctx, "SENTINEL", "MASTER", sentinelMaster).Result()
			if err != nil {
				return err
			}
			about := fields(known)
			if about["num-other-sentinels"] != "2" || about["num-slaves"] != "1" {
				return fmt.Errorf("it knows %s other sentinels and %s replicas", about["num-other-sentinels"], about["num-slaves"])
			}
			return nil
		})
	})
}

// Primary is the address of the primary as the sentinels say.
func (r *Redises) Primary(ctx context.Context) (address string, err error) {
	for _, s := range r.sentinels {
		err = withClient(s, func(c *redis.Client) error {
			parts, err := c.Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", sentinelMaster).StringSlice()
			if err == nil && len(parts) == 2 {
				address = net.JoinHostPort(parts[0], parts[1])
			}
			return err
		})
		if err == nil && address != "" {
			return address, nil
		}
	}
	return "", fmt.Errorf("no sentinel names a primary: %w", err)
}

// fields turns the flat list, or the map, that Redis answers into one of strings.
func fields(answer any) map[string]string {
	all := make(map[string]string)
	switch list := answer.(type) {
	case []any:
		for i := 0; i+1 < len(list); i += 2 {
			all[fmt.Sprint(list[i])] = fmt.Sprint(list[i+1])
		}
	case map[any]any:
		for name, value := range list {
			all[fmt.Sprint(name)] = fmt.Sprint(value)
		}
	}
	return all
}

// eventually calls check until it succeeds, for startPatience.
func eventually(ctx context.Context, what string, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %s: %w", what, strconv.Itoa(int(startPatience.Seconds()))+" s", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
