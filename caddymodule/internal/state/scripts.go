package state

import "github.com/redis/go-redis/v9"

// All keys of one call lie in one shard and so in one slot of a cluster. Times
// are Redis's own, so that clocks of edges do not matter.

// openScript is the first round trip of a request.
//
//	KEYS  reply, session, claim
//	ARGV  step hash ("" when stateless), retry window ms, claim id, claim ttl ms
//
// It returns {"reply", stored} when this envelope was answered, {"repeat",
// reply} for the last step again, {"run", version, session} with the claim
// taken, or {"wait"} while another request holds it.
var openScript = redis.NewScript(`
local stored = redis.call('GET', KEYS[1])
if stored then return {'reply', stored} end
local version, session = '', ''
if ARGV[1] ~= '' then
  local s = redis.call('HMGET', KEYS[2], 'version', 'session', 'step', 'at')
  if s[3] == ARGV[1] then
    local t = redis.call('TIME')
    if t[1] * 1000 + math.floor(t[2] / 1000) - s[4] < tonumber(ARGV[2]) then
      return {'repeat', redis.call('HGET', KEYS[2], 'reply')}
    end
  end
  version, session = s[1] or '', s[2] or ''
end
if redis.call('SET', KEYS[3], ARGV[3], 'NX', 'PX', ARGV[4]) then
  return {'run', version, session}
end
return {'wait'}
`)

// commitScript is the second round trip.
//
//	KEYS  reply, session, claim, events
//	ARGV  expected version ("" for none), new version ("" when stateless),
//	      session, step hash, plaintext reply, session ttl ms,
//	      stored answer, reply ttl ms, claim id, then the fields of the entry
//
// It returns {"ok"}, {"reply", stored} when this envelope was answered in the
// meantime, or {"conflict", version, session} when the session moved on. The
// claim is kept on a conflict, because the caller runs once more.
var commitScript = redis.NewScript(`
local stored = redis.call('GET', KEYS[1])
if stored then
  if redis.call('GET', KEYS[3]) == ARGV[9] then redis.call('DEL', KEYS[3]) end
  return {'reply', stored}
end
if ARGV[2] ~= '' then
  local version = redis.call('HGET', KEYS[2], 'version') or ''
  if version ~= ARGV[1] then
    return {'conflict', version, redis.call('HGET', KEYS[2], 'session') or ''}
  end
  local t = redis.call('TIME')
  redis.call('HSET', KEYS[2], 'version', ARGV[2], 'session', ARGV[3], 'step', ARGV[4], 'reply', ARGV[5],
    'at', string.format('%d', t[1] * 1000 + math.floor(t[2] / 1000)))
  redis.call('PEXPIRE', KEYS[2], ARGV[6])
end
redis.call('SET', KEYS[1], ARGV[7], 'PX', ARGV[8])
redis.call('XADD', KEYS[4], '*', unpack(ARGV, 10))
if redis.call('GET', KEYS[3]) == ARGV[9] then redis.call('DEL', KEYS[3]) end
return {'ok'}
`)

// keepScript stores an answer under its envelope unless there is one, and gives
// the claim back.
//
//	KEYS  reply, claim
//	ARGV  stored answer, reply ttl ms, claim id ("" for none)
//
// It returns the answer that is stored now.
var keepScript = redis.NewScript(`
local stored = redis.call('GET', KEYS[1])
if not stored then
  stored = ARGV[1]
  redis.call('SET', KEYS[1], stored, 'PX', ARGV[2])
end
if ARGV[3] ~= '' and redis.call('GET', KEYS[2]) == ARGV[3] then redis.call('DEL', KEYS[2]) end
return stored
`)
