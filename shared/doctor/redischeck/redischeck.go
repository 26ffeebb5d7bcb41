// Package redischeck looks at the Redis that edge and worker share: whether what
// is put into it stays there until the worker has stored it.
package redischeck

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// Config is what the check needs.
type Config struct {
	Client redis.UniversalClient
	Keys   keyspace.Keys
	Where  string // in words, without credentials
	Now    func() time.Time
	// FlowsElsewhere says that the edge has its definitions from another place, so
	// that none need be published.
	FlowsElsewhere bool
}

// The names of the findings.
const (
	Reachable   = "redis: reachable"
	Version     = "redis: version"
	Persistence = "redis: persistence"
	Eviction    = "redis: eviction policy"
	Memory      = "redis: memory"
	Shards      = "redis: shards"
	Lag         = "redis: lag"
	Dead        = "redis: dead entries"
	Flows       = "redis: published flows"
)

// after are those that a Redis out of reach leaves open.
var after = []string{Version, Persistence, Eviction, Memory, Shards, Lag, Dead, Flows}

// Check is all that is to be asked of a Redis.
func Check(c Config) doctor.Check {
	return doctor.Check{Name: Reachable, Run: c.run}
}

func (c Config) run(ctx context.Context) []doctor.Finding {
	before := c.Now()
	at, err := c.Client.Time(ctx).Result()
	took := c.Now().Sub(before)
	if err != nil {
		found := []doctor.Finding{doctor.Failed(Reachable, c.Where+": "+oneLine(err),
			"webhooks get 503, so that Meta sends them again for 7 days; flows show the fallback message; nothing is stored", remedy(err))}
		for _, name := range after {
			found = append(found, doctor.Skip(name, "Redis does not answer"))
		}
		return found
	}
	found := []doctor.Finding{
		doctor.Fine(Reachable, "%s answers in %s", c.Where, took.Round(100*time.Microsecond)),
		doctor.Clock("Redis", before, before.Add(took), at, 0),
	}
	nodes, err := c.nodes(ctx)
	if err != nil {
		found = append(found, doctor.Warned(Version, oneLine(err), "version, persistence, eviction and memory cannot be judged",
			"allow INFO to the user that REDIS_URL names (ACL: +info)"))
	} else {
		found = append(found, version(nodes), persistence(nodes), eviction(nodes), memory(nodes))
	}
	return append(found, c.shards(ctx), c.lag(ctx, at), c.dead(ctx), c.flows(ctx))
}

// remedy is the fix for a Redis that does not answer.
func remedy(err error) string {
	switch text := err.Error(); {
	case strings.HasPrefix(text, "WRONGPASS"), strings.HasPrefix(text, "NOAUTH"):
		return "mend user and password in REDIS_URL"
	case strings.HasPrefix(text, "NOPERM"):
		return "allow the commands to the user that REDIS_URL names"
	case strings.Contains(text, "connection refused"):
		return "start Redis, and compare host and port in REDIS_URL"
	case strings.Contains(text, "no such host"):
		return "mend the host in REDIS_URL"
	case strings.HasPrefix(text, "LOADING"):
		return "wait: Redis reads its data"
	}
	return "check that REDIS_URL is right, that Redis runs, and that nothing between keeps it from answering"
}

// node is what INFO says of one Redis.
type node struct {
	name   string // "" when there is only one
	fields map[string]string
}

func (n node) number(field string) float64 {
	value, _ := strconv.ParseFloat(n.fields[field], 64)
	return value
}

// nodes asks every Redis that takes writes.
func (c Config) nodes(ctx context.Context) ([]node, error) {
	cluster, ok := c.Client.(*redis.ClusterClient)
	if !ok {
		n, err := ask(ctx, c.Client, "")
		return []node{n}, err
	}
	found := make(chan node, 1024)
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		n, err := ask(ctx, master, master.Options().Addr)
		if err == nil {
			found <- n
		}
		return err
	})
	close(found)
	var all []node
	for n := range found {
		all = append(all, n)
	}
	if err == nil && len(all) == 0 {
		err = errors.New("the cluster has no master")
	}
	return all, err
}

const fsync = "appendfsync"

func ask(ctx context.Context, client redis.Cmdable, name string) (node, error) {
	text, err := client.Info(ctx, "everything").Result()
	if err != nil {
		return node{}, err
	}
	n := node{name, fields(text)}
	// Hosted offerings refuse CONFIG, and say what they do in their own pages.
	if set, err := client.ConfigGet(ctx, fsync).Result(); err == nil {
		n.fields[fsync] = set[fsync]
	}
	return n, nil
}

func fields(info string) map[string]string {
	all := make(map[string]string)
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			all[name] = value
		}
	}
	return all
}

// worst judges every node and keeps the worst; evidence of several is joined.
func worst(nodes []node, judge func(node) doctor.Finding) doctor.Finding {
	var found doctor.Finding
	var evidence []string
	for i, n := range nodes {
		f := judge(n)
		if n.name != "" {
			f.Evidence = n.name + ": " + f.Evidence
		}
		evidence = append(evidence, f.Evidence)
		if i == 0 || f.Status == doctor.Fail || f.Status == doctor.Warn && found.Status == doctor.OK {
			found = f
		}
	}
	if found.Status == doctor.OK {
		found.Evidence = strings.Join(evidence, ", ")
	}
	return found
}

const oldestMajor = 7

func version(nodes []node) doctor.Finding {
	return worst(nodes, func(n node) doctor.Finding {
		is := n.fields["redis_version"]
		major, _, _ := strings.Cut(is, ".")
		if number, err := strconv.Atoi(major); err != nil || number < oldestMajor {
			return doctor.Failed(Version, "Redis "+is, "scripts and streams use what Redis has since 7.0", "run Redis 7.0 or newer")
		}
		return doctor.Fine(Version, "Redis %s", is)
	})
}

func persistence(nodes []node) doctor.Finding {
	const lost = "an event that Meta was told is taken is lost when Redis restarts before the worker has stored it"
	return worst(nodes, func(n node) doctor.Finding {
		switch {
		case n.fields["aof_enabled"] != "1":
			return doctor.Failed(Persistence, "appendonly no", lost, "set appendonly yes and appendfsync always in redis.conf, or with CONFIG SET")
		case n.fields["aof_last_write_status"] != "ok":
			return doctor.Failed(Persistence, "the last write of the append-only file failed", lost, "look at Redis's log; free room on its disk")
		case n.fields["aof_last_bgrewrite_status"] != "ok":
			return doctor.Warned(Persistence, "the last rewrite of the append-only file failed", "the file grows without end", "look at Redis's log; give its disk room for a second copy")
		}
		switch policy := n.fields[fsync]; policy {
		case "":
			return doctor.Fine(Persistence, "append-only file, its last write went well; appendfsync is not told")
		case "always":
			return doctor.Fine(Persistence, "append-only file, appendfsync always, its last write went well")
		default:
			return doctor.Warned(Persistence, "append-only file, appendfsync "+policy, "when the machine loses power, events of the last second or more that Meta was told are taken are lost",
				"set appendfsync always, or accept it")
		}
	})
}

func eviction(nodes []node) doctor.Finding {
	return worst(nodes, func(n node) doctor.Finding {
		policy := n.fields["maxmemory_policy"]
		if policy != "noeviction" {
			return doctor.Failed(Eviction, "maxmemory-policy "+policy, "a full Redis throws away sessions or answers that are not stored yet, without a word",
				"set maxmemory-policy noeviction in redis.conf, or with CONFIG SET")
		}
		return doctor.Fine(Eviction, "%s", policy)
	})
}

// The edge answers webhooks with 503 above refuse.
const (
	refuse = 0.8
	narrow = 0.6
)

func memory(nodes []node) doctor.Finding {
	return worst(nodes, func(n node) doctor.Finding {
		used, limit := n.number("used_memory"), n.number("maxmemory")
		of := "maxmemory"
		if limit == 0 {
			limit, of = n.number("total_system_memory"), "the machine, without maxmemory"
		}
		if limit == 0 {
			return doctor.Fine(Memory, "%s used", size(used))
		}
		evidence := fmt.Sprintf("%s used of %s (%s)", size(used), size(limit), of)
		const fix = "raise maxmemory, and see why events wait (redis: lag) or what else is in this Redis"
		switch share := used / limit; {
		case share >= refuse:
			return doctor.Failed(Memory, evidence, "above 80 % the edge answers webhooks with 503, so that Redis never gets full", fix)
		case share >= narrow:
			return doctor.Warned(Memory, evidence, "from 80 % on the edge answers webhooks with 503", fix)
		}
		return doctor.Fine(Memory, "%s", evidence)
	})
}

func size(bytes float64) string {
	if bytes >= 1<<30 {
		return fmt.Sprintf("%.1f GiB", bytes/(1<<30))
	}
	return fmt.Sprintf("%.1f MiB", bytes/(1<<20))
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
