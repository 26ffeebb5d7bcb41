package keyscommand

import (
	"crypto/rand"
	"crypto/rsa"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/keyring"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph/graphtest"
)

// rotating is a desk with a directory of one key, served by an edge.
func rotating(t *testing.T) (*desk, *edge) {
	t.Helper()
	d := newDesk(t)
	d.quick = true
	if err := os.Mkdir(d.path("keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	d.now = d.now.Add(-30 * 24 * time.Hour)
	d.addKey()
	e := d.edge("localhost:2019", d.path("keys"))
	d.now = d.now.Add(30 * 24 * time.Hour)
	return d, e
}

// addKey puts a key into the directory, whose private half nobody needs.
func (d *desk) addKey() {
	d.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := keyring.Add(d.path("keys"), []byte("private"), []byte("pass"), flowcrypto.PublicPEM(&key.PublicKey), d.now); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) files() string {
	d.t.Helper()
	files, err := keyring.List(d.path("keys"))
	if err != nil {
		d.t.Fatal(err)
	}
	var all []string
	for _, file := range files {
		all = append(all, strings.TrimPrefix(file.Path, d.path("keys")+"/"))
	}
	return strings.Join(all, " ")
}

// The whole of a rotation, from the new key to the day when the old one goes.
func TestARotationFromItsFirstToItsLastDay(t *testing.T) {
	d, e := rotating(t)
	server := d.meta()
	old := e.keys[0].Fingerprint
	e.opens(1, 1000)

	out := d.must("rotate", "--overlap", "7d", "--all-numbers")
	if len(e.keys) != 2 || e.keys[0].Fingerprint == old || e.keys[1].Fingerprint != old {
		t.Fatalf("the edge has %d keys", len(e.keys))
	}
	for _, part := range []string{e.keys[0].Fingerprint, "101 (+1 555-0101)  VALID, the same key", "102 (+1 555-0102)  VALID", "may go after 2026-12-06 09:00:00 UTC"} {
		if !strings.Contains(out, part) {
			t.Errorf("it says\n%s\nexpected %q", out, part)
		}
	}
	for _, id := range []string{"101", "102"} {
		if server.Key(id).PEM != e.keys[0].PublicKey {
			t.Errorf("number %s does not have the new key", id)
		}
	}
	d.refused([]string{"a rotation is under way since 2026-11-29 09:00:00 UTC"}, "rotate")

	e.opens(2, 10)
	d.refused([]string{"the overlap ends at 2026-12-06 09:00:00 UTC, in 7.0 days", "opened a request with the old key " + old[:12] + " 0s ago (1010 in the last 24 h, 50.0 %)", "nothing was opened with the new key", "the old key stays"}, "rotate", "--finish")
	d.now = d.now.Add(8 * 24 * time.Hour)
	d.refused([]string{"nothing was opened with the new key"}, "rotate", "--finish")
	e.opens(1, 500)
	e.opens(2, 1)
	if out := d.refused([]string{"opened a request with the old key"}, "rotate", "--finish"); strings.Contains(out, "overlap") {
		t.Errorf("the overlap has passed: %s", out)
	}
	d.now = d.now.Add(25 * time.Hour)
	e.opens(1, 500)
	server.SetKey("102", graph.PublicKey{PEM: e.keys[1].PublicKey, Signature: graph.SignatureValid})
	d.refused([]string{"WhatsApp does not have the new key for the number 102"}, "rotate", "--finish", "--all-numbers")
	d.must("register", "--all-numbers")
	if out := d.must("status", "--all-numbers"); !strings.Contains(out, "the old key may go") {
		t.Errorf("status says\n%s", out)
	}
	if n := strings.Count(d.files(), ".pem"); n != 2 {
		t.Errorf("after refusals there are %d keys, expected both", n)
	}

	out = d.must("rotate", "--finish", "--all-numbers")
	if len(e.keys) != 1 || e.keys[0].Fingerprint == old {
		t.Errorf("the edge has %d keys", len(e.keys))
	}
	if strings.Count(d.files(), ".pem") != 1 || !strings.Contains(out, "/retired/") {
		t.Errorf("left are %s; it says\n%s", d.files(), out)
	}
	for _, suffix := range []string{".pem", ".pass", ".pub"} {
		if info, err := os.Stat(d.path("keys/retired/2026-10-30T09-00-00Z" + suffix)); err != nil || (suffix != ".pub" && info.Mode().Perm() != 0o600) {
			t.Errorf("moved aside: %v, %v", info, err)
		}
	}
	d.refused([]string{"no rotation is under way"}, "rotate", "--finish")
}

func TestARotationThatCannotGoThroughChangesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*desk, *edge)
		args    []string
		want    []string
	}{
		"no token": {func(d *desk, _ *edge) { delete(d.env, "META_ACCESS_TOKEN") }, nil,
			[]string{"neither META_ACCESS_TOKEN nor META_ACCESS_TOKEN_FILE is set", "--no-register"}},
		"no number": {func(d *desk, _ *edge) { delete(d.env, "META_PHONE_NUMBER_ID") }, nil,
			[]string{"which phone numbers?"}},
		"a token that Meta refuses": {func(d *desk, _ *edge) { d.env["META_ACCESS_TOKEN"] = "EAAG-token-of-yesterday" }, []string{"--all-numbers"},
			[]string{"the access token is not valid"}},
		"keys are named one by one": {func(_ *desk, e *edge) { e.dir = "" }, nil,
			[]string{"has no directory of keys", "private_keys DIRECTORY", "PRIVATE_KEYS_DIR"}},
		"the edge cannot read it": {func(_ *desk, e *edge) { e.broken = "account default: private_keys: permission denied" }, nil,
			[]string{"nothing is changed, and the new key is deleted", "permission denied"}},
		"the edge reads another directory": {func(d *desk, e *edge) {
			if err := os.Mkdir(d.path("elsewhere"), 0o700); err != nil {
				d.t.Fatal(err)
			}
		}, []string{"--dir", "ELSEWHERE"}, []string{"nothing is changed", "does not have the new key first"}},
		"no edge":                 {func(d *desk, _ *edge) { delete(d.edges, "localhost:2019") }, nil, []string{"connection refused", "does it run"}},
		"one of two edges":        {func(*desk, *edge) {}, []string{"--address", "localhost:2019", "--address", "10.0.0.2:2019"}, []string{"the edge at 10.0.0.2:2019", "connection refused"}},
		"an account there is not": {func(*desk, *edge) {}, []string{"--account", "acme"}, []string{`it has no account "acme"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, e := rotating(t)
			d.meta()
			c.prepare(d, e)
			before := d.files()
			args := []string{"rotate"}
			for _, arg := range c.args {
				args = append(args, strings.ReplaceAll(arg, "ELSEWHERE", d.path("elsewhere")))
			}
			d.refused(c.want, args...)
			if after := d.files(); after != before {
				t.Errorf("the directory holds %s, before %s", after, before)
			}
			if state, err := keyring.ReadRotation(d.path("keys")); state != nil || err != nil {
				t.Errorf("a rotation is noted: %+v, %v", state, err)
			}
			if writes := d.graph.Writes(); len(writes) != 0 {
				t.Errorf("Meta was told: %v", writes)
			}
		})
	}
}

// When Meta fails in the middle, the new key stays loaded and the old one goes on:
// nothing is lost, and what to do is said.
func TestARegistrationThatFailsLeavesBothKeys(t *testing.T) {
	d, e := rotating(t)
	server := d.meta()
	server.Fail("POST 102/whatsapp_business_encryption", graphtest.Failure{Status: 400, Code: 131031, Message: "Account locked"})
	d.refused([]string{"the old one still works", "number 102", "the account is locked", "keys register"}, "rotate", "--all-numbers")
	if len(e.keys) != 2 || server.Key("101").PEM != e.keys[0].PublicKey || server.Key("102").PEM != "" {
		t.Errorf("the edge has %d keys", len(e.keys))
	}
	d.must("register", "--all-numbers")
	if server.Key("102").PEM != e.keys[0].PublicKey {
		t.Error("register does not mend it")
	}
}

func TestWhenTheOldKeyCannotBeTakenOutItIsPutBack(t *testing.T) {
	d, e := rotating(t)
	d.must("rotate", "--no-register", "--overlap", "0s")
	d.now = d.now.Add(48 * time.Hour)
	e.opens(1, 1)
	before := d.files()
	e.broken = "account default: app_secret 1: the placeholder {file./run/secrets/app_secret} is empty or cannot be read"
	d.refused([]string{"the old key is put back", "{file./run/secrets/app_secret}"}, "rotate", "--finish", "--no-register")
	if d.files() != before {
		t.Errorf("the directory holds %s, before %s", d.files(), before)
	}
	e.broken = ""
	d.must("rotate", "--finish", "--no-register")
	if strings.Count(d.files(), ".pem") != 1 {
		t.Errorf("left are %s", d.files())
	}
}

func TestWhyAnOldKeyStays(t *testing.T) {
	now := time.Date(2026, 12, 10, 12, 0, 0, 0, time.UTC)
	state := keyring.Rotation{New: strings.Repeat("a", 64), Old: []string{strings.Repeat("b", 64)}, Begun: now.Add(-8 * 24 * time.Hour), Until: now.Add(-24 * time.Hour)}
	held := func(since, newUsed, oldUsed time.Duration) edgeAccount {
		at := func(ago time.Duration) time.Time {
			if ago < 0 {
				return time.Time{}
			}
			return now.Add(-ago)
		}
		return edgeAccount{"edge:2019", keyring.Account{Keys: []keyring.Key{
			{Fingerprint: state.New, Since: now.Add(-since), LastOpened: at(newUsed)},
			{Fingerprint: state.Old[0], Since: now.Add(-since), LastOpened: at(oldUsed), OpenedDay: 3, ShareDay: 0.01},
		}}}
	}
	const never = -1
	for name, c := range map[string]struct {
		edges []edgeAccount
		until time.Duration // the overlap ends so long from now
		want  []string      // one part of each reason
	}{
		"the old one is out of use": {[]edgeAccount{held(200*time.Hour, time.Minute, 30*time.Hour)}, -time.Hour, nil},
		"it was never used":         {[]edgeAccount{held(200*time.Hour, time.Minute, never)}, -time.Hour, nil},
		"the overlap lasts":         {[]edgeAccount{held(200*time.Hour, time.Minute, never)}, time.Hour, []string{"the overlap ends at 2026-12-10 13:00:00 UTC, in 1h0m0s"}},
		"it was used an hour ago":   {[]edgeAccount{held(200*time.Hour, time.Minute, time.Hour)}, -time.Hour, []string{"1h0m0s ago (3 in the last 24 h, 1.0 %)"}},
		"the edge has just started": {[]edgeAccount{held(time.Hour, time.Minute, never)}, -time.Hour, []string{"runs for 1h0m0s only"}},
		"nobody uses either":        {[]edgeAccount{held(200*time.Hour, never, never)}, -time.Hour, []string{"nothing was opened with the new key either"}},
		"one of two edges is quiet": {[]edgeAccount{held(200*time.Hour, time.Minute, never), held(200*time.Hour, never, time.Minute)}, -time.Hour, []string{"opened a request with the old key"}},
		"an edge lacks the new one": {[]edgeAccount{held(200*time.Hour, time.Minute, never), {"edge2:2019", keyring.Account{}}}, -time.Hour, []string{"the edge at edge2:2019 does not have the new key"}},
	} {
		t.Run(name, func(t *testing.T) {
			state := state
			state.Until = now.Add(c.until)
			reasons := mayNotGo(state, c.edges, now, 24*time.Hour)
			if len(reasons) != len(c.want) {
				t.Fatalf("reasons %q, expected %q", reasons, c.want)
			}
			for i, want := range c.want {
				if !strings.Contains(reasons[i], want) {
					t.Errorf("reason %q, expected %q", reasons[i], want)
				}
			}
		})
	}
}
