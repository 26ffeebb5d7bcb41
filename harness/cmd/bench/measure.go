package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/load"
)

// account is what a run of calls took of whom.
type account struct {
	load.Result
	cpu   time.Duration // of the edge
	redis time.Duration
	own   time.Duration // of the generator
	rss   int64         // of the edge, right after
}

// counted runs do and accounts for the CPU time that the edge and Redis used
// meanwhile.
func (t *target) counted(ctx context.Context, do func() (load.Result, error)) (a account, err error) {
	pid := t.Edge.PID()
	redisBefore, err := redisCPU(ctx, t.redis)
	if err != nil {
		return a, err
	}
	before, err := load.CPU(pid)
	if err != nil {
		return a, err
	}
	ownBefore, err := load.CPU(os.Getpid())
	if err != nil {
		return a, err
	}
	if a.Result, err = do(); err != nil {
		return a, errors.Join(err, t.Died())
	}
	ownAfter, err := load.CPU(os.Getpid())
	if err != nil {
		return a, err
	}
	after, err := load.CPU(pid)
	if err != nil {
		return a, err
	}
	redisAfter, err := redisCPU(ctx, t.redis)
	if err != nil {
		return a, err
	}
	a.cpu, a.redis, a.own = after-before, redisAfter-redisBefore, ownAfter-ownBefore
	a.rss, _, err = load.Memory(pid)
	return a, err
}

// measure sends all calls, whose answers must all be good, each connection its
// next one when it has the answer to the last.
func (t *target) measure(ctx context.Context, calls []load.Call, connections int) (Run, error) {
	a, err := t.counted(ctx, func() (load.Result, error) {
		return load.Closed(ctx, t.address(), calls, connections)
	})
	if err == nil {
		err = a.Err()
	}
	if err != nil {
		return Run{}, err
	}
	times := a.Times(func(int, load.Answer) bool { return true })
	n := float64(len(calls))
	return Run{
		PerSecond: n / a.Took.Seconds(),
		P50:       us(times.Quantile(0.50)), P95: us(times.Quantile(0.95)), P99: us(times.Quantile(0.99)), Longest: us(times.Max()),
		CPU: us(a.cpu) / n, RedisCPU: us(a.redis) / n, Generator: us(a.own) / n, RSS: mb(a.rss),
	}, nil
}

// redisCPU is the CPU time that Redis has used, by its own account.
func redisCPU(ctx context.Context, client *redis.Client) (time.Duration, error) {
	info, err := redisInfo(ctx, client, "cpu")
	if err != nil {
		return 0, err
	}
	var total time.Duration
	for _, name := range []string{"used_cpu_sys", "used_cpu_user"} {
		seconds, err := strconv.ParseFloat(info[name], 64)
		if err != nil {
			return 0, fmt.Errorf("INFO cpu of Redis has %s %q, expected seconds", name, info[name])
		}
		total += time.Duration(seconds * float64(time.Second))
	}
	return total, nil
}

func redisInfo(ctx context.Context, client *redis.Client, section string) (map[string]string, error) {
	raw, err := client.Info(ctx, section).Result()
	if err != nil {
		return nil, err
	}
	info := make(map[string]string)
	for line := range strings.SplitSeq(raw, "\r\n") {
		if name, value, found := strings.Cut(line, ":"); found {
			info[name] = value
		}
	}
	return info, nil
}
