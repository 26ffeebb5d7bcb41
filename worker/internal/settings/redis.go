package settings

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

// Redis is where Redis is and which keys in it are ours.
type Redis struct {
	Keys    keyspace.Keys
	options redis.UniversalOptions
}

// ReadRedis reads REDIS_URL, REDIS_PREFIX and REDIS_SHARDS. REDIS_URL is one of
//
//	redis://[user:password@]host:port[/db]          rediss:// for TLS
//	redis+sentinel://[user:password@]host:port,host:port/master[/db]
//	redis+cluster://[user:password@]host:port,host:port
//
// with the query parameters of go-redis (dial_timeout, read_timeout,
// pool_size, …); rediss+sentinel and rediss+cluster for TLS. Of Sentinel, user
// and password are those of the Redis servers; the sentinels' own come as
// sentinel_username and sentinel_password in the query.
func ReadRedis(src setting.Source) (Redis, error) {
	value, err := src.Require("REDIS_URL")
	if err != nil {
		return Redis{}, err
	}
	options, err := parseRedis(value)
	if err != nil {
		return Redis{}, fmt.Errorf("REDIS_URL: %w", err)
	}
	// What the servers of hosted offerings announce before maintenance; others
	// answer with an error on every connection.
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	prefix, _, err := src.Lookup("REDIS_PREFIX")
	if err != nil {
		return Redis{}, err
	}
	if strings.ContainsAny(prefix, "{}") {
		return Redis{}, errors.New("REDIS_PREFIX holds a brace, which would break the hash tags of the keys: choose one without")
	}
	shards, err := number(src, "REDIS_SHARDS", keyspace.DefaultShards, 1, 1024, "shards")
	if err != nil {
		return Redis{}, err
	}
	return Redis{Keys: keyspace.New(prefix, shards), options: *options}, nil
}

// Options are a copy, free to be changed, of what redis.NewUniversalClient
// takes.
func (r Redis) Options() *redis.UniversalOptions {
	o := r.options
	o.Addrs = append([]string(nil), r.options.Addrs...)
	return &o
}

// Address says where Redis is, without the password.
func (r Redis) Address() string { return strings.Join(r.options.Addrs, ",") }

var errRedisURL = errors.New("expected redis://host:6379, rediss://…, redis+sentinel://host:26379,host:26379/master or redis+cluster://host:6379,host:6379")

// parseRedis never repeats the URL: it may hold a password.
func parseRedis(value string) (*redis.UniversalOptions, error) {
	scheme, rest, ok := strings.Cut(value, "://")
	if !ok {
		return nil, errRedisURL
	}
	transport, kind, _ := strings.Cut(scheme, "+")
	if transport != "redis" && transport != "rediss" && (transport != "unix" || kind != "") {
		return nil, errRedisURL
	}
	switch kind {
	case "":
		o, err := redis.ParseURL(value)
		if err != nil {
			return nil, fmt.Errorf("not readable, %w", errRedisURL)
		}
		return single(o), nil
	case "sentinel", "cluster":
		return several(transport, kind, rest)
	default:
		return nil, errRedisURL
	}
}

// several reads a URL with a list of hosts, which net/url does not know.
func several(transport, kind, rest string) (*redis.UniversalOptions, error) {
	authority, path, _ := strings.Cut(rest, "/")
	authority, query, hasQuery := strings.Cut(authority, "?")
	if !hasQuery {
		path, query, _ = strings.Cut(path, "?")
	}
	user, hosts := "", authority
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		user, hosts = authority[:at+1], authority[at+1:]
	}
	var addrs []string
	for host := range strings.SplitSeq(hosts, ",") {
		addr, err := hostPort(host, kind)
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("query not readable, %w", errRedisURL)
	}
	sentinelUser, sentinelPassword := values.Get("sentinel_username"), values.Get("sentinel_password")
	values.Del("sentinel_username")
	values.Del("sentinel_password")

	master, db, _ := strings.Cut(path, "/")
	if kind == "cluster" && path != "" {
		return nil, errors.New("redis+cluster takes no database number: a cluster has only database 0")
	}
	if kind == "sentinel" && master == "" {
		return nil, errors.New("redis+sentinel names no master, expected redis+sentinel://host:26379,host:26379/master")
	}
	one := transport + "://" + user + addrs[0] + "/" + db
	if len(values) > 0 {
		one += "?" + values.Encode()
	}
	o, err := redis.ParseURL(one)
	if err != nil {
		return nil, fmt.Errorf("not readable, %w", errRedisURL)
	}
	u := single(o)
	u.Addrs = addrs
	u.IsClusterMode = kind == "cluster"
	u.MasterName = master
	u.SentinelUsername, u.SentinelPassword = sentinelUser, sentinelPassword
	if u.TLSConfig != nil {
		// Each server is verified under its own name, not under the first one's.
		u.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return u, nil
}

func hostPort(host, kind string) (string, error) {
	if host == "" {
		return "", errRedisURL
	}
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host, nil
	}
	port := "6379"
	if kind == "sentinel" {
		port = "26379"
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port), nil
}

// single carries over everything that a URL can say.
func single(o *redis.Options) *redis.UniversalOptions {
	u := &redis.UniversalOptions{
		Addrs: []string{o.Addr}, ClientName: o.ClientName, DB: o.DB, Protocol: o.Protocol,
		Username: o.Username, Password: o.Password, TLSConfig: o.TLSConfig,
		MaxRetries: o.MaxRetries, MinRetryBackoff: o.MinRetryBackoff, MaxRetryBackoff: o.MaxRetryBackoff,
		DialTimeout: o.DialTimeout, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout,
		PoolFIFO: o.PoolFIFO, PoolSize: o.PoolSize, PoolTimeout: o.PoolTimeout,
		MinIdleConns: o.MinIdleConns, MaxIdleConns: o.MaxIdleConns, MaxActiveConns: o.MaxActiveConns,
		ConnMaxIdleTime: o.ConnMaxIdleTime, ConnMaxLifetime: o.ConnMaxLifetime,
	}
	return u
}
