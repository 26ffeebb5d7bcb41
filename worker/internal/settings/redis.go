package settings

import (
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/redisurl"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

// Redis is where Redis is and which keys in it are ours.
type Redis struct {
	Keys    keyspace.Keys
	options redis.UniversalOptions
}

// ReadRedis reads REDIS_URL, REDIS_PREFIX and REDIS_SHARDS. For the forms
// of REDIS_URL see package redisurl.
func ReadRedis(src setting.Source) (Redis, error) {
	value, err := src.Require("REDIS_URL")
	if err != nil {
		return Redis{}, err
	}
	options, err := redisurl.Parse(value)
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
