package caddymodule

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/redisurl"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

// Modes of a Redis.
const (
	redisStandalone = "standalone"
	redisSentinel   = "sentinel"
	redisCluster    = "cluster"
)

// Timeouts of the client. A flow request has 2.5 s in all: a Redis that needs
// longer than these is down as far as the phone is concerned.
const (
	redisDialTimeout = 500 * time.Millisecond
	redisTimeout     = time.Second
	redisPoolSize    = 64
)

// Redis is the connection to Redis 7.0 or newer. It should run with
// `maxmemory-policy noeviction` and an append-only file: events wait in it
// until the worker has stored them.
type Redis struct {
	// Mode is `standalone` (the default), `sentinel` or `cluster`.
	Mode string `json:"mode,omitempty"`

	// URL of the Redis: `redis://user:password@host:6379/0`, `rediss://` for TLS,
	// `unix:///path`, `redis+sentinel://host:26379,host:26379/master` or
	// `redis+cluster://host:6379,host:6379`. Default: REDIS_URL.
	URL string `json:"url,omitempty"`

	// Addresses are host:port of the sentinels, or of some nodes of the cluster.
	Addresses []string `json:"addresses,omitempty"`

	// Master is the name of the master the sentinels watch.
	Master string `json:"master,omitempty"`

	// Username and Password of Redis itself.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`

	// SentinelUsername and SentinelPassword of the sentinels.
	SentinelUsername string `json:"sentinel_username,omitempty"`
	SentinelPassword string `json:"sentinel_password,omitempty"`

	// DB is the number of the database. A cluster has only 0.
	DB int `json:"db,omitempty"`

	// TLS connects to sentinels, masters and cluster nodes over TLS.
	TLS bool `json:"tls,omitempty"`

	// Wait is the number of replicas that must have an event before it counts
	// as written. Default: 0, the master alone.
	Wait int `json:"wait,omitempty"`

	// WaitTimeout bounds how long a write waits for those replicas.
	WaitTimeout caddy.Duration `json:"wait_timeout,omitempty"`
}

// redisOptions are the resolved settings of a Redis: the identity of a client.
// It is never logged; where says in words what may be.
type redisOptions struct {
	Mode, URL, Master, Username, Password string
	SentinelUsername, SentinelPassword    string
	Addresses                             []string
	DB, Wait                              int
	TLS                                   bool
	WaitTimeout                           time.Duration
	Prefix                                string
	Shards                                int
}

func (r *Redis) resolve(env setting.Source) (redisOptions, error) {
	o := redisOptions{Mode: r.Mode, DB: r.DB, TLS: r.TLS, Wait: r.Wait, WaitTimeout: time.Duration(r.WaitTimeout)}
	if o.Mode == "" {
		o.Mode = redisStandalone
	}
	if r.Wait < 0 || (r.Wait > 0) != (r.WaitTimeout > 0) {
		return o, errors.New("redis: wait needs a number of replicas and a duration, such as wait 1 50ms")
	}
	for _, field := range []struct {
		option, value string
		to            *string
	}{
		{"url", r.URL, &o.URL}, {"master", r.Master, &o.Master},
		{"username", r.Username, &o.Username}, {"password", r.Password, &o.Password},
		{"sentinel_username", r.SentinelUsername, &o.SentinelUsername},
		{"sentinel_password", r.SentinelPassword, &o.SentinelPassword},
	} {
		resolved, err := resolveText("redis: "+field.option, field.value)
		if err != nil {
			return o, err
		}
		*field.to = resolved
	}
	for _, address := range r.Addresses {
		resolved, err := resolveText("redis: address", address)
		if err != nil {
			return o, err
		}
		// One placeholder may hold several addresses.
		o.Addresses = append(o.Addresses, setting.List(resolved)...)
	}
	return o, o.check(env)
}

func (o *redisOptions) check(env setting.Source) error {
	switch o.Mode {
	case redisStandalone:
		if o.URL == "" {
			value, err := env.Require("REDIS_URL")
			if err != nil {
				return fmt.Errorf("redis: no URL: %w", err)
			}
			o.URL = value
		}
		if len(o.Addresses) > 0 || o.Master != "" || o.SentinelUsername != "" || o.SentinelPassword != "" || o.TLS {
			return errors.New("redis: address, master, sentinel_username, sentinel_password and tls are for redis sentinel { … } or redis cluster { … }; a single Redis is named by its URL, with TLS as rediss://")
		}
		_, err := o.universal()
		return err
	case redisSentinel:
		if o.Master == "" {
			return errors.New("redis sentinel: no master: name the master that the sentinels watch, such as master mymaster")
		}
	case redisCluster:
		if o.Master != "" || o.SentinelUsername != "" || o.SentinelPassword != "" {
			return errors.New("redis cluster: master, sentinel_username and sentinel_password are for redis sentinel")
		}
		if o.DB != 0 {
			return fmt.Errorf("redis cluster: db is %d, but a cluster has only database 0", o.DB)
		}
	default:
		return fmt.Errorf("redis: unknown mode %q, expected %s, %s or %s", o.Mode, redisStandalone, redisSentinel, redisCluster)
	}
	if o.URL != "" {
		return fmt.Errorf("redis %s: a URL is for a single Redis; name the nodes with address", o.Mode)
	}
	if len(o.Addresses) == 0 {
		return fmt.Errorf("redis %s: no address: name at least one as host:port", o.Mode)
	}
	for _, address := range o.Addresses {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return fmt.Errorf("redis %s: address %q is not host:port", o.Mode, address)
		}
	}
	return nil
}

// universal are the settings of the client but for those that are ours to say.
func (o *redisOptions) universal() (*redis.UniversalOptions, error) {
	if o.Mode != redisStandalone {
		u := &redis.UniversalOptions{
			Addrs: o.Addresses, DB: o.DB, Username: o.Username, Password: o.Password,
			MasterName: o.Master, SentinelUsername: o.SentinelUsername, SentinelPassword: o.SentinelPassword,
			IsClusterMode: o.Mode == redisCluster,
		}
		if o.TLS {
			u.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		return u, nil
	}
	u, err := redisurl.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("redis: the URL: %w", err)
	}
	u.DB = cmp.Or(o.DB, u.DB)
	u.Username, u.Password = cmp.Or(o.Username, u.Username), cmp.Or(o.Password, u.Password)
	return u, nil
}

// client makes the client. It opens no connection.
func (o *redisOptions) client() (redis.UniversalClient, error) {
	u, err := o.universal()
	if err != nil {
		return nil, err
	}
	u.DialTimeout, u.ReadTimeout, u.WriteTimeout = redisDialTimeout, redisTimeout, redisTimeout
	u.PoolSize = max(u.PoolSize, redisPoolSize)
	// A retried append is a second event, and the request's own budget is the
	// only clock that counts.
	u.MaxRetries, u.MaxRedirects, u.DialerRetries = -1, 3, 1
	u.ContextTimeoutEnabled = true
	// Batches share the connections of single commands: a pool of their own
	// would be dialled anew after each outage, and hold ten times 256 KB.
	u.PipelinePoolSize = -1
	// RESP3 would have the client look for push messages at every reply.
	u.Protocol = 2
	// A hand-shake of managed services that a plain Redis refuses.
	u.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewUniversalClient(u), nil
}

// where names the Redis for a log line, without credentials.
func (o *redisOptions) where() string {
	switch o.Mode {
	case redisSentinel:
		return fmt.Sprintf("sentinel %s of %s, database %d", o.Master, strings.Join(o.Addresses, " "), o.DB)
	case redisCluster:
		return "cluster " + strings.Join(o.Addresses, " ")
	}
	if u, err := o.universal(); err == nil {
		return strings.TrimSpace(fmt.Sprintf("%s %s, database %d", u.MasterName, strings.Join(u.Addrs, " "), u.DB))
	}
	return redisStandalone
}

// poolKey identifies the resolved settings, so that a reload that changes a
// secret file gets a new client and any other reload keeps the old one.
func (o *redisOptions) poolKey() string {
	encoded, err := json.Marshal(o)
	if err != nil {
		panic(fmt.Sprintf("redis options: %v", err)) // strings, numbers and booleans only
	}
	sum := sha256.Sum256(encoded)
	return string(sum[:])
}

// clip bounds what an error repeats of a value that may be anything.
func clip(s string) string {
	const limit = 20
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
