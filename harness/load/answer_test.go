package load

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

func TestAnswersThatAreRead(t *testing.T) {
	for _, c := range []struct {
		name, raw string
		status    int
		body      string
		closing   bool
	}{
		{name: "a body by its length", raw: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", status: 200, body: "hello"},
		{name: "no body", raw: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", status: 200},
		{name: "field names in any case", raw: "HTTP/1.1 200 OK\r\ncontent-LENGTH:2 \r\n\r\nok", status: 200, body: "ok"},
		{name: "a status without a name", raw: "HTTP/1.1 432 \r\nContent-Length: 0\r\n\r\n", status: 432},
		{name: "a status that has no body", raw: "HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n", status: 204},
		{name: "chunks", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA\r\n, everyone\r\n0\r\n\r\n", status: 200, body: "hello, everyone"},
		{name: "no chunk but the last", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", status: 200},
		{name: "the last on its connection", raw: "HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", status: 503, body: "x", closing: true},
		{name: "one that says that it is not the last", raw: "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", status: 200, body: "x"},
		{name: "a long body", raw: "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("b", 100000), status: 200, body: strings.Repeat("b", 100000)},
	} {
		for way, from := range map[string]io.Reader{
			"at once": strings.NewReader(c.raw), "byte by byte": iotest.OneByteReader(strings.NewReader(c.raw)),
		} {
			t.Run(c.name+" "+way, func(t *testing.T) {
				r := answerReader{from: from}
				status, body, closing, err := r.read()
				if err != nil {
					t.Fatal(err)
				}
				if status != c.status || string(body) != c.body || closing != c.closing {
					t.Errorf("status %d, body %.40q, closing %v; want %d, %.40q, %v", status, body, closing, c.status, c.body, c.closing)
				}
			})
		}
	}
}

func TestAnswersOfOneConnectionFollowEachOther(t *testing.T) {
	pipe := &turns{}
	r := answerReader{from: pipe}
	for i := range 200 {
		want := strings.Repeat(string(rune('a'+i%26)), i*97)
		if i%2 == 0 {
			pipe.answer = fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(want), want)
		} else {
			pipe.answer = fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(want), want)
		}
		_, body, _, err := r.read()
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		if string(body) != want {
			t.Fatalf("answer %d is %d bytes %.20q, want %d bytes %.20q", i, len(body), body, len(want), want)
		}
	}
	if len(r.buf) > 64<<10 {
		t.Errorf("the buffer has grown to %d bytes for answers of at most 20 KB", len(r.buf))
	}
}

// turns gives one answer in pieces.
type turns struct{ answer string }

func (t *turns) Read(p []byte) (int, error) {
	n := copy(p[:min(len(p), 1000)], t.answer)
	t.answer = t.answer[n:]
	return n, nil
}

func TestAnswersThatAreRefused(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for _, c := range []struct{ name, raw, want string }{
		{"a connection closed without an answer", "", "closed the connection without an answer"},
		{"a header that ends in its middle", "HTTP/1.1 200 OK\r\nContent-", "after 25 bytes of an answer's header"},
		{"a body that ends in its middle", ok + "Content-Length: 5\r\n\r\nhel", "3 of 5 bytes came"},
		{"chunks without their end", ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", "unexpected EOF"},
		{"another protocol", "+PONG\r\n\r\n", "the status line is \"+PONG\""},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", "expected HTTP/1.1"},
		{"a status of letters", "HTTP/1.1 2OO OK\r\nContent-Length: 0\r\n\r\n", "expected three digits"},
		{"an interim answer, for which nobody asked", "HTTP/1.1 100 Continue\r\n\r\n", "status 100"},
		{"a body of no known end", ok + "\r\n\r\nhello", "neither a Content-Length nor chunks"},
		{"two lengths", ok + "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", "two fields Content-Length"},
		{"a length and chunks", ok + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "both a Content-Length and"},
		{"a negative length", ok + "Content-Length: -1\r\n\r\n", "the Content-Length is \"-1\""},
		{"an empty length", ok + "Content-Length: \r\n\r\n", "the Content-Length is \"\""},
		{"a length out of all proportion", ok + "Content-Length: 99999999999999999999\r\n\r\n", "expected a number up to"},
		{"another coding", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n", "expected chunked"},
		{"a connection that becomes another", ok + "Connection: upgrade\r\nContent-Length: 0\r\n\r\n", "expected close or keep-alive"},
		{"a field without a colon", ok + "Content-Length\r\n\r\n", "is no header field"},
		{"a field with a blank before its colon", ok + "Content-Length : 0\r\n\r\n", "is no header field"},
		{"a folded field", ok + "Server: a\r\n b\r\nContent-Length: 0\r\n\r\n", "is no header field"},
		{"lines that end with LF alone", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "unexpected EOF"},
		{"a body where there can be none", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nhi", "announces a body"},
		{"a chunk's size in letters", ok + "Transfer-Encoding: chunked\r\n\r\nxy\r\n", "expected up to 8 hexadecimal digits"},
		{"no chunk's size", ok + "Transfer-Encoding: chunked\r\n\r\n\r\n", "expected up to 8 hexadecimal digits"},
		{"a chunk's size without end", ok + "Transfer-Encoding: chunked\r\n\r\n000000000\r\n", "expected up to 8 hexadecimal digits"},
		{"a chunk's extension", ok + "Transfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n", "expected up to 8 hexadecimal digits"},
		{"a chunk longer than its size", ok + "Transfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n0\r\n\r\n", "no line end where a chunk of 1 bytes ends"},
		{"a chunk out of all proportion", ok + "Transfer-Encoding: chunked\r\n\r\nffffffff\r\n", "the chunks are longer than"},
		{"a trailer", ok + "Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n", "no line end where a chunk of 0 bytes ends"},
		{"more than was asked for", ok + "Content-Length: 2\r\n\r\nhi" + ok, "came behind the answer"},
		{"a header without end", ok + "X: " + strings.Repeat("x", maxHead), "is longer than 65536 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := answerReader{from: strings.NewReader(c.raw)}
			status, body, _, err := r.read()
			if err == nil {
				t.Fatalf("read as status %d, body %.40q", status, body)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q, want one with %q", err, c.want)
			}
		})
	}
}

// What is read here, net/http reads as well and in the same way.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA\r\n, everyone\r\n0\r\n\r\n",
		"HTTP/1.1 503 Busy\r\nConnection: close\r\nServer: Caddy\r\nContent-Length: 1\r\n\r\nx",
		"HTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 304 \r\nA:\t b\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		whole := answerReader{from: bytes.NewReader(raw)}
		status, body, closing, err := whole.read()

		bitwise := answerReader{from: iotest.OneByteReader(bytes.NewReader(raw))}
		status1, body1, closing1, err1 := bitwise.read()
		// Byte by byte nobody sees what comes behind the answer.
		if err == nil && (err1 != nil || status1 != status || !bytes.Equal(body1, body) || closing1 != closing) {
			t.Fatalf("at once %d %q %v, byte by byte %d %q %v %v", status, body, closing, status1, body1, closing1, err1)
		}
		if err1 != nil {
			return
		}
		request, _ := http.NewRequest(http.MethodPost, "http://127.0.0.1/", nil)
		response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), request)
		if err != nil {
			t.Fatalf("read as status %d, body %q, but net/http says: %v", status1, body1, err)
		}
		defer response.Body.Close()
		want, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatalf("read as status %d, body %q, but net/http says of the body: %v", status1, body1, err)
		}
		if response.StatusCode != status1 || !bytes.Equal(want, body1) || response.Close != closing1 {
			t.Fatalf("read as %d %q closing %v, by net/http as %d %q closing %v", status1, body1, closing1, response.StatusCode, want, response.Close)
		}
	})
}
