package api

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/settings"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/testkit"
)

func TestExportAsNDJSON(t *testing.T) {
	c := people(t)
	r := c.get("/api/responses/export").is(200)
	if got := r.header.Get("Content-Type"); got != "application/x-ndjson" {
		t.Errorf("content type %s", got)
	}
	lines := strings.Split(strings.TrimSuffix(string(r.body), "\n"), "\n")
	var all []string
	for _, line := range lines {
		var one struct{ Wamid *string }
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, wamidOf(one.Wamid))
	}
	if got := strings.Join(all, " "); got != "wamid.A - wamid.C wamid.D" {
		t.Errorf("in the order of their time: %s", got)
	}
	for _, want := range []string{`"responseData":{"score":"5","extras":["c","x","t"],"big":12345678901234567890,"text":"<é\u00e9\u0000>","flow_token":"tA"}`,
		`"titles":{"extras":["Cake","x","Tea"],"score":"Very glad"}`} {
		if !strings.Contains(lines[0], want) {
			t.Errorf("%s is not in %s", want, lines[0])
		}
	}
	if got := string(c.get("/api/responses/export?phone=000").is(200).body); got != "" {
		t.Errorf("an export of nothing: %q", got)
	}
}

func wamidOf(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}

func TestExportAsCSV(t *testing.T) {
	c := people(t)
	c.answer("default", 50, "wamid.E", `"wa_id":"1"`, `{"=cmd|x":"=1+1","score":-5,"id":"mine","text":"a\"b\r\nc","deep":{"a": [1]},"none":null,"yes":true}`)
	r := c.get("/api/responses/export?format=csv").is(200)
	if got := r.header.Get("Content-Type") + " " + r.header.Get("Content-Disposition"); got != `text/csv; charset=utf-8; header=present attachment; filename="responses.csv"` {
		t.Error(got)
	}
	if !strings.HasSuffix(string(r.body), "\r\n") {
		t.Error("lines do not end as RFC 4180 has them")
	}
	rows, err := csv.NewReader(strings.NewReader(string(r.body))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	const fixed = 17
	if got := strings.Join(rows[0], ","); got != "id,account,flow,flowVersion,answeredAt,receivedAt,phoneNumber,userId,flowToken,source,wamid,contextId,phoneNumberId,"+
		"sessionId,attempt,incomplete,raw,'=cmd|x,a,big,deep,extras,extras (title),answer.id,none,q,score,score (title),text,yes" {
		t.Errorf("columns %s", got)
	}
	for i, want := range []string{
		"||12345678901234567890||c; x; t|Cake; x; Tea||||5|Very glad|<éé\uFFFD>|",
		"||||||||1||||",
		"|1|||||||||||",
		"||||||||||||",
		"'=1+1|||{\"a\":[1]}|||mine|||-5||a\"b\nc|true", // the reader makes \r\n one \n
	} {
		if got := strings.Join(rows[i+1][fixed:], "|"); got != want {
			t.Errorf("row %d\n got %q\nwant %q", i, got, want)
		}
	}
	if rows[4][16] != "[1]" || rows[1][6] != "1650" || rows[3][6] != "" || rows[3][7] != "US.C" {
		t.Errorf("fixed columns: %q", rows)
	}

	named := string(c.get("/api/responses/export?format=csv&bom=true&flow=csat&columns=score+(title),+nothing,score").is(200).body)
	if first, rest, _ := strings.Cut(named, "\r\n"); !strings.HasPrefix(first, "\uFEFFid,account") || !strings.HasSuffix(first, ",raw,score (title),nothing,score") ||
		!strings.HasSuffix(rest, ",false,,Very glad,,5\r\n") {
		t.Errorf("named columns:\n%s", named)
	}
}

func TestTooManyColumns(t *testing.T) {
	c := collect(t)
	c.answer("default", 0, "w", `"wa_id":"1"`, manyKeys(501))
	c.get("/api/responses/export?format=csv").failed(400, "ValidationError", "500", "columns")
	c.get("/api/responses/export?format=csv&columns=k7").is(200)
	c.get("/api/responses/export").is(200)
}

func manyKeys(n int) string {
	all := make(map[string]int, n)
	for i := range n {
		all[fmt.Sprint("k", i)] = i
	}
	raw, _ := json.Marshal(all)
	return string(raw)
}

// fill stores so many answers of about a kilobyte.
func (c *collected) fill(n int) {
	c.t.Helper()
	c.exec(`INSERT INTO flow_responses (id, source, wamid, response_data, answered_at)
		SELECT gen_random_uuid(), 'nfm_reply', 'w' || i, json_build_object('n', i, 'text', repeat('x', 1000)), now() + i * interval '1 second'
		FROM generate_series(1, $1) i`, n)
}

func (c *collected) exports() string {
	c.t.Helper()
	var n string
	if err := c.pool.QueryRow(c.t.Context(), `SELECT count(*)::text FROM pg_stat_activity
		WHERE datname = current_database() AND application_name = 'whatsapp-flows-worker export'`).Scan(&n); err != nil {
		c.t.Fatal(err)
	}
	return n
}

// beginExport reads the first line of an export of everything.
func (c *collected) beginExport() *http.Response {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), "GET", c.url+"/api/responses/export", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+rootToken)
	resp, err := c.client.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || resp.StatusCode != 200 {
		c.t.Fatal(resp.Status, err, line)
	}
	return resp
}

// 40 MB are more than what waits in buffers between the two.
const muchRows = 40_000

func TestExportStopsWhenItsClientGoes(t *testing.T) {
	c := collect(t)
	c.fill(muchRows)
	resp := c.beginExport()
	if c.exports() != "1" {
		t.Fatal("no export is running")
	}
	_ = resp.Body.Close()
	testkit.Eventually(t, "the connection of the export is gone", func() bool { return c.exports() == "0" })
	testkit.Eventually(t, "the log says so", func() bool {
		return c.log.FilterMessage("an export was broken off: its client went, or the worker stops").Len() == 1
	})
	c.get("/api/responses?limit=1").is(200)
}

// A part must not look like the whole.
func TestExportThatFailsMidwayBreaksOff(t *testing.T) {
	c := collect(t)
	c.fill(muchRows)
	resp := c.beginExport()
	defer resp.Body.Close() //nolint:errcheck // broken off
	c.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'whatsapp-flows-worker export'`)
	if n, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Errorf("%d bytes and a proper end", n)
	}
	testkit.Eventually(t, "the log says so", func() bool { return c.log.FilterMessage("an export was broken off").Len() == 1 })
}

func TestExportsAtOnceAreLimited(t *testing.T) {
	c := collect(t)
	c.fill(muchRows)
	for range 4 {
		defer c.beginExport().Body.Close() //nolint:errcheck // broken off
	}
	r := c.get("/api/responses/export").failed(429, "EXPORTS_BUSY")
	if r.header.Get("Retry-After") == "" {
		t.Error("it does not say when to try again")
	}
}

// The server's times are for answers that are ready at once.
func TestExportTakesLongerThanAnAnswerMay(t *testing.T) {
	c := collect(t)
	c.fill(muchRows)
	server := httptest.NewUnstartedServer(New(Config{Pool: c.pool, Log: zap.NewNop(), Tokens: []settings.APIToken{{Secret: rootToken}}}))
	server.Config.ReadTimeout, server.Config.WriteTimeout = 50*time.Millisecond, 50*time.Millisecond
	server.Start()
	defer server.Close()
	c.url = server.URL
	began := time.Now()
	resp := c.beginExport()
	defer resp.Body.Close() //nolint:errcheck // read to its end
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n < muchRows*900 || time.Since(began) < server.Config.WriteTimeout {
		t.Errorf("%d bytes in %s: %v", n, time.Since(began), err)
	}
}

// Over HTTP/1.0 an answer ends with the connection: a file that broke off looks
// complete.
func TestNoExportOverHTTP10(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r := newRecorded(t, "GET", "/api/responses/export", nil)
	r.request.Proto, r.request.ProtoMajor, r.request.ProtoMinor = "HTTP/1.0", 1, 0
	s.api.outer().ServeHTTP(r.recorder, r.request)
	if r.recorder.Code != http.StatusHTTPVersionNotSupported || !strings.Contains(r.recorder.Body.String(), "HTTP/1.1") {
		t.Errorf("%d %s", r.recorder.Code, r.recorder.Body)
	}
}
