// Package redisurl reads REDIS_URL in one way for the edge and the worker:
//
//	redis://[user:password@]host:port[/db]          rediss:// for TLS
//	unix:///path                                    a socket
//	redis+sentinel://[user:password@]host:port,host:port/master[/db]
//	redis+cluster://[user:password@]host:port,host:port
//
// with the query parameters of go-redis (dial_timeout, read_timeout, pool_size,
// …); rediss+sentinel and rediss+cluster for TLS. Of Sentinel, user and password
// are those of the Redis servers; the sentinels' own come as sentinel_username
// and sentinel_password in the query.
package redisurl

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/redis/go-redis/v9"
)

var errURL = errors.New("expected redis://host:6379, rediss://…, redis+sentinel://host:26379,host:26379/master or redis+cluster://host:6379,host:6379")

// Parse reads value. It opens no connection. Its error never repeats the URL,
// which may hold a password.
func Parse(value string) (*redis.UniversalOptions, error) {
	scheme, rest, ok := strings.Cut(value, "://")
	if !ok {
		return nil, fmt.Errorf("it has no scheme, %w", errURL)
	}
	transport, kind, _ := strings.Cut(scheme, "+")
	if transport != "redis" && transport != "rediss" && (transport != "unix" || kind != "") {
		return nil, fmt.Errorf("it begins with %q, %w", scheme[:min(len(scheme), 20)]+"://", errURL)
	}
	switch kind {
	case "":
		o, err := redis.ParseURL(value)
		if err != nil {
			return nil, fmt.Errorf("not readable, %w", errURL)
		}
		return single(o), nil
	case "sentinel", "cluster":
		return several(transport, kind, rest)
	default:
		return nil, errURL
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
		return nil, fmt.Errorf("query not readable, %w", errURL)
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
		return nil, fmt.Errorf("not readable, %w", errURL)
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
		return "", errURL
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
