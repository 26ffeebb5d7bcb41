package state

import (
	"context"
	"errors"
)

// All keys of one call lie in one shard and so in one slot of a cluster. Times
// are Redis's own, so that clocks of edges do not matter. Every script answers
// with one string that begins with its verdict: an array would be more work for
// both sides. What a script reads it reads with one MGET, because each call
// from Lua costs Redis about a microsecond.
//
// A claim is worth nothing after a restart or on a replica, and lives for
// seconds. So what happens to claims stays out of the append-only file and the
// replication (REPL_NONE): with `appendfsync always` the first round trip then
// costs no fsync. After a failover an equal request may run beside the first;
// the version of the session still lets one of them win.

// The verdicts of the scripts.
const (
	verdictReplied = 'R' // then the answer stored under this envelope
	verdictRepeat  = 'A' // then the record of the session
	verdictRun     = 'N' // then the record of the session, or nothing
	verdictWait    = 'W'
	verdictDone    = 'K'
)

var scripts = []*script{openScript, commitScript, keepScript, releaseScript}

// recordFunction gives the record of a session, an empty string when there is none. found is
// what MGET read; it sees no hash, and as hashes with these fields edges kept
// their sessions before they kept records. Such a session goes on, and is a
// record after its next step: begun anew, it would lose its answers and count
// its versions again, and the worker would take its steps for those it has.
const recordFunction = `
local function record_of(found, key)
  if found then return found end
  local old = redis.call('HMGET', key, 'version', 'session', 'step', 'at', 'reply')
  if not old[1] then return '' end
  local now = redis.call('TIME')
  local ttl = redis.call('PTTL', key) + now[1] * 1000 + math.floor(now[2] / 1000) - old[4]
  return string.format('%s %.0f %d %s\n', old[1], ttl, #old[2], old[3]) .. old[2] .. old[5]
end
`

// openScript is the first round trip of a request.
//
//	KEYS  reply, session, claim
//	ARGV  step hash ("" when stateless), retry window ms, claim id, claim ttl ms
//
// It answers R when this envelope was answered, A when this is the session's
// last step again, N with the claim taken, or W while another request holds it.
// How long ago the last step was is told by the session's time to live, which
// began with it.
var openScript = newScript(recordFunction + `
local found = redis.call('MGET', KEYS[1], KEYS[2])
if found[1] then return 'R' .. found[1] end
local record = ''
if ARGV[1] ~= '' then
  record = record_of(found[2], KEYS[2])
  local ttl, step = string.match(record, '^%d+ (%d+) %d+ ([^\n]*)\n')
  if step == ARGV[1] and ttl - redis.call('PTTL', KEYS[2]) < tonumber(ARGV[2]) then
    return 'A' .. record
  end
end
redis.set_repl(redis.REPL_NONE)
if redis.call('SET', KEYS[3], ARGV[3], 'NX', 'PX', ARGV[4]) then return 'N' .. record end
return 'W'
`)

// commitScript is the second round trip.
//
//	KEYS  reply, session, claim, events
//	ARGV  expected version ("" for none), record of the session ("" when
//	      stateless), session ttl ms, stored answer, reply ttl ms, claim id, then
//	      the fields of the entry
//
// It answers K, R when this envelope was answered in the meantime, or N when
// the session moved on. The claim is kept on N, because the caller runs once
// more.
var commitScript = newScript(recordFunction + `
local found = redis.call('MGET', KEYS[1], KEYS[2], KEYS[3])
local function release()
  if found[3] ~= ARGV[6] then return end
  redis.set_repl(redis.REPL_NONE)
  redis.call('DEL', KEYS[3])
end
if found[1] then
  release()
  return 'R' .. found[1]
end
if ARGV[2] ~= '' then
  local record = record_of(found[2], KEYS[2])
  if (string.match(record, '^%d+') or '') ~= ARGV[1] then return 'N' .. record end
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])
redis.call('XADD', KEYS[4], '*', unpack(ARGV, 7))
release()
return 'K'
`)

// keepScript stores an answer under its envelope unless there is one, and gives
// the claim back.
//
//	KEYS  reply, claim
//	ARGV  stored answer, reply ttl ms, claim id ("" for none)
//
// It answers K, or R when there was an answer, which stays.
var keepScript = newScript(`
local stored = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'GET', 'PX', ARGV[2])
redis.set_repl(redis.REPL_NONE)
if ARGV[3] ~= '' and redis.call('GET', KEYS[2]) == ARGV[3] then redis.call('DEL', KEYS[2]) end
if stored then return 'R' .. stored end
return 'K'
`)

// releaseScript gives a claim back.
//
//	KEYS  claim
//	ARGV  claim id
var releaseScript = newScript(`
redis.set_repl(redis.REPL_NONE)
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 'K'
`)

// load has Redis compile the scripts ahead of the first requests. A Redis that
// has lost them gets them again with the next call.
func (s *Store) load(ctx context.Context) error {
	var err error
	for _, script := range scripts {
		err = errors.Join(err, s.client.ScriptLoad(ctx, script.source).Err())
	}
	return err
}
