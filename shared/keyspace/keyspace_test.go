package keyspace

import (
	"strings"
	"testing"
)

func TestKeysAreNamedAsTheContractSays(t *testing.T) {
	k := New("", 0)
	for _, c := range []struct{ got, want string }{
		{k.Events(3), "waf:{s3}:events"},
		{k.LargeEvents(3), "waf:{s3}:events:large"},
		{k.DeadEvents(3), "waf:{s3}:events:dead"},
		{k.Reply(0, "ab"), "waf:{s0}:reply:ab"},
		{k.Claim(0, "ab"), "waf:{s0}:claim:ab"},
		{k.Session(15, "acme", "csat", "tok"), "waf:{s15}:session:acme:csat:" + TokenHash("tok")},
		{k.ShardCount(), "waf:shards"},
		{k.Definition("ff"), "waf:flow:ff"},
		{k.Index(), "waf:flows"},
		{k.Changed(), "waf:flows:changed"},
		{k.Edges(), "waf:edges"},
		{IndexField("acme", "csat"), "acme/csat"},
		{New("x:", 2).Events(1), "x:{s1}:events"},
	} {
		if c.got != c.want {
			t.Errorf("key is %s, expected %s", c.got, c.want)
		}
	}
}

func TestBodiesOverTheLimitUseTheLargeStream(t *testing.T) {
	k := New("", 0)
	if got := k.EventsFor(1, LargeBody); got != k.Events(1) {
		t.Errorf("a body of exactly the limit goes to %s", got)
	}
	if got := k.EventsFor(1, LargeBody+1); got != k.LargeEvents(1) {
		t.Errorf("a body over the limit goes to %s", got)
	}
}

func TestSessionsSpreadOverAllShards(t *testing.T) {
	k := New("", 16)
	seen := make(map[int]bool)
	for i := range 1000 {
		n := k.SessionShard("default", "csat", strings.Repeat("t", i))
		if n < 0 || n >= 16 {
			t.Fatalf("shard %d of 16", n)
		}
		seen[n] = true
	}
	if len(seen) != 16 {
		t.Errorf("1000 sessions use %d of 16 shards", len(seen))
	}
}

func TestSessionIDKeepsItsPartsApart(t *testing.T) {
	if SessionID("a", "bc", "d") == SessionID("ab", "c", "d") {
		t.Error("two different sessions share an id")
	}
}

func TestTokenIsNeverPartOfAKey(t *testing.T) {
	if key := New("", 0).Session(0, "a", "f", "my-secret-token"); strings.Contains(key, "secret") {
		t.Errorf("key %s holds the token", key)
	}
}
