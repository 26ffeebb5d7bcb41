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
	// Wait is how many replicas must have an event before it counts as written; 0:
	// the one that takes it is enough.
	Wait int
}

// The names of the findings.
const (
	Reachable   = "redis: reachable"
	Version     = "redis: version"
	Writable    = "redis: writable"
	Persistence = "redis: persistence"
	Fsync       = "redis: fsync policy"
	Eviction    = "redis: eviction policy"
	Memory      = "redis: memory"
	Shards      = "redis: shards"
	Lag         = "redis: lag"
	Dead        = "redis: dead entries"
	Flows       = "redis: published flows"
)

// after are those that a Redis out of reach leaves open.
var after = []string{Version, Writable, Persistence, Fsync, Eviction, Memory, Shards, Lag, Dead, Flows}

// told are those of them that INFO tells.
var told = after[:6]

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
	switch {
	case err == nil:
		found = append(found, version(nodes), c.writable(nodes), persistence(nodes), fsyncPolicy(nodes), eviction(nodes), memory(nodes))
	case refused(err):
		found = append(found, doctor.Warned(Version, oneLine(err), "version, persistence, eviction and memory cannot be judged",
			"allow INFO to the user that REDIS_URL names (ACL: +info)"))
	default:
		found = append(found, doctor.Failed(Version, oneLine(err), "a part of Redis does not answer: what belongs there is neither taken nor stored", remedy(err)))
	}
	if err != nil {
		for _, name := range told[1:] {
			found = append(found, doctor.Skip(name, "see "+Version))
		}
	}
	return append(found, c.shards(ctx), c.lag(ctx, at), c.dead(ctx), c.flows(ctx))
}

// refused says that Redis answers, and that the user may not ask this.
func refused(err error) bool { return strings.HasPrefix(err.Error(), "NOPERM") }

// remedy is the fix for a Redis that does not answer.
func remedy(err error) string {
	switch text := err.Error(); {
	case strings.HasPrefix(text, "WRONGPASS"), strings.HasPrefix(text, "NOAUTH"):
		return "mend user and password in REDIS_URL"
	case refused(err):
		return "allow the commands to the user that REDIS_URL names"
	case strings.HasPrefix(text, "CLUSTERDOWN"):
		return "bring the nodes back whose slots nobody serves: `redis-cli --cluster check HOST:PORT` names them"
	case strings.Contains(text, "sentinel"):
		return "start the sentinels, and compare their addresses and the name of the master with what is configured"
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

// The settings that INFO does not tell. Hosted offerings refuse CONFIG, and say
// what they do in their own pages.
const (
	fsync       = "appendfsync"
	savePoints  = "save"
	stopWrites  = "stop-writes-on-bgsave-error"
	minReplicas = "min-replicas-to-write"
)

func ask(ctx context.Context, client redis.Cmdable, name string) (node, error) {
	text, err := client.Info(ctx, "everything").Result()
	if err != nil {
		return node{}, err
	}
	n := node{name, fields(text)}
	for _, setting := range []string{fsync, savePoints, stopWrites, minReplicas} {
		if set, err := client.ConfigGet(ctx, setting).Result(); err == nil {
			n.fields[setting] = set[setting]
		}
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
		if i == 0 || f.Status.Worse(found.Status) {
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

// writable looks for what makes Redis refuse every write, however well it answers.
func (c Config) writable(nodes []node) doctor.Finding {
	const meaning = "webhooks get 503, so that Meta sends them again for 7 days; flows show the fallback message; nothing is stored"
	return worst(nodes, func(n node) doctor.Finding {
		replicas := n.number("connected_slaves")
		switch {
		case n.fields["role"] == "slave":
			return doctor.Failed(Writable, "a replica of "+n.fields["master_host"]+":"+n.fields["master_port"]+", which takes no writes", meaning,
				"name the primary; or have sentinels find it: redis+sentinel://HOST:26379/MASTER")
		case snapshotFailed(n) && n.fields[stopWrites] == "yes" && n.fields[savePoints] != "":
			return doctor.Failed(Writable, "no: the last snapshot failed, and "+stopWrites+" is yes", meaning,
				"look at Redis's log and free room on its disk; with an append-only file no snapshot is needed: CONFIG SET save \"\"")
		case n.number(minReplicas) > 0 && n.number("min_slaves_good_slaves") < n.number(minReplicas):
			return doctor.Failed(Writable, fmt.Sprintf("no: %s is %s, and %s replicas are in step", minReplicas, n.fields[minReplicas], n.fields["min_slaves_good_slaves"]), meaning,
				"bring the replicas back, or lower "+minReplicas)
		case replicas < float64(c.Wait):
			return doctor.Failed(Writable, fmt.Sprintf("wait asks for %d replicas, %.0f are connected", c.Wait, replicas), "no event counts as written: webhooks get 503, flows show the fallback message",
				"bring the replicas back, or lower `wait` in the block of redis")
		}
		return doctor.Fine(Writable, "yes")
	})
}

func snapshotFailed(n node) bool {
	status, says := n.fields["rdb_last_bgsave_status"]
	return says && status != "ok"
}

const lost = "an event that Meta was told is taken is lost when Redis restarts before the worker has stored it"

func persistence(nodes []node) doctor.Finding {
	return worst(nodes, func(n node) doctor.Finding {
		switch {
		case n.fields["aof_enabled"] != "1":
			return doctor.Failed(Persistence, "appendonly no", lost, "set appendonly yes and appendfsync always in redis.conf, or with CONFIG SET")
		case n.fields["aof_last_write_status"] != "ok":
			return doctor.Failed(Persistence, "the last write of the append-only file failed", "Redis refuses every write until one succeeds: "+lost, "look at Redis's log; free room on its disk")
		case n.fields["aof_last_bgrewrite_status"] != "ok":
			return doctor.Warned(Persistence, "the last rewrite of the append-only file failed", "the file grows without end", "look at Redis's log; give its disk room for a second copy")
		case snapshotFailed(n):
			return doctor.Warned(Persistence, "append-only file, its last write went well; the last snapshot failed", "a backup made of snapshots is old", "look at Redis's log; give its disk room for a snapshot")
		}
		return doctor.Fine(Persistence, "append-only file, its last write went well")
	})
}

func fsyncPolicy(nodes []node) doctor.Finding {
	return worst(nodes, func(n node) doctor.Finding {
		policy, says := n.fields[fsync]
		switch {
		case n.fields["aof_enabled"] != "1":
			return doctor.Skip(Fsync, "there is no append-only file")
		case !says:
			return doctor.Skip(Fsync, "this user may not ask (CONFIG GET "+fsync+"): see what the provider says")
		case policy == "always":
			return doctor.Fine(Fsync, "%s always", fsync)
		}
		return doctor.Warned(Fsync, fsync+" "+policy, "when the machine loses power, events of the last second or more that Meta was told are taken are lost",
			"set appendfsync always, or accept it")
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
		if limit == 0 {
			return unlimited(n, used)
		}
		evidence := fmt.Sprintf("%s used of %s (maxmemory)", size(used), size(limit))
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

// unlimited judges a Redis without maxmemory, which the edge never sees full.
func unlimited(n node, used float64) doctor.Finding {
	machine := n.number("total_system_memory")
	if machine == 0 {
		return doctor.Skip(Memory, fmt.Sprintf("%s used, without maxmemory; the machine's memory is not told", size(used)))
	}
	evidence := fmt.Sprintf("%s used of the machine's %s, without maxmemory", size(used), size(machine))
	const meaning = "without maxmemory the edge cannot see that Redis gets full: it takes events until the system ends Redis"
	const fix = "set maxmemory to less than the machine has, and see why events wait (redis: lag) or what else is in this Redis"
	switch share := used / machine; {
	case share >= refuse:
		return doctor.Failed(Memory, evidence, meaning, fix)
	case share >= narrow:
		return doctor.Warned(Memory, evidence, meaning, fix)
	}
	return doctor.Fine(Memory, "%s", evidence)
}

func size(bytes float64) string {
	if bytes >= 1<<30 {
		return fmt.Sprintf("%.1f GiB", bytes/(1<<30))
	}
	return fmt.Sprintf("%.1f MiB", bytes/(1<<20))
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
