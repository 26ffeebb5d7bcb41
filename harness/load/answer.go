package load

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	maxHead = 64 << 10 // bytes of a status line and its header
	maxBody = 16 << 20
)

// answerReader reads the answers of one connection, one after the other. It
// knows what HTTP/1.1 servers answer to a POST (RFC 9112): a status line, header
// fields, and a body by Content-Length or in chunks. Anything else, also what
// net/http forgives, is an error: after it nobody knows where the next answer
// begins.
type answerReader struct {
	from       io.Reader
	buf        []byte
	start, end int    // what is read and not used yet is buf[start:end]
	chunks     []byte // the body of the last chunked answer
}

// head is the part of an answer before its body.
type head struct {
	status  int
	length  int // of the body; -1 when it comes in chunks
	closing bool
}

// read returns the next answer. body is valid until the next call; closing says
// that the server closes the connection after it.
func (r *answerReader) read() (status int, body []byte, closing bool, err error) {
	raw, err := r.readHead()
	if err != nil {
		return 0, nil, false, err
	}
	h, err := parseHead(raw)
	if err != nil {
		return 0, nil, false, err
	}
	if h.length < 0 {
		body, err = r.readChunks()
	} else {
		body, err = r.take(h.length)
	}
	if err != nil {
		return 0, nil, false, fmt.Errorf("in the body of an answer of status %d: %w", h.status, err)
	}
	if r.start != r.end {
		return 0, nil, false, fmt.Errorf("%d bytes came behind the answer of status %d, to which nothing was asked", r.end-r.start, h.status)
	}
	return h.status, body, h.closing, nil
}

var endOfHead = []byte("\r\n\r\n")

// readHead returns the status line and the header with the line end of their
// last line, without the empty line.
func (r *answerReader) readHead() ([]byte, error) {
	for {
		if i := bytes.Index(r.buf[r.start:r.end], endOfHead); i >= 0 {
			raw := r.buf[r.start : r.start+i+2]
			r.start += i + len(endOfHead)
			return raw, nil
		}
		if r.end-r.start >= maxHead {
			return nil, fmt.Errorf("the header of an answer is longer than %d bytes", maxHead)
		}
		if err := r.more(); err == io.EOF && r.start == r.end {
			return nil, errors.New("the server closed the connection without an answer")
		} else if err != nil {
			return nil, fmt.Errorf("after %d bytes of an answer's header: %w", r.end-r.start, whole(err))
		}
	}
}

// take returns the next n bytes.
func (r *answerReader) take(n int) ([]byte, error) {
	for r.end-r.start < n {
		if err := r.more(); err != nil {
			return nil, fmt.Errorf("%d of %d bytes came: %w", r.end-r.start, n, whole(err))
		}
	}
	r.start += n
	return r.buf[r.start-n : r.start], nil
}

// whole is the error of something that ended in its middle.
func whole(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// more reads once, into the room behind what is unused; when there is none, it
// moves what is unused to the front, in a larger buffer when that is most of it.
func (r *answerReader) more() error {
	if unused := r.buf[r.start:r.end]; len(unused) == 0 || r.end == len(r.buf) {
		if 2*len(unused) >= len(r.buf) {
			r.buf = make([]byte, max(4096, 2*len(r.buf)))
		}
		r.start, r.end = 0, copy(r.buf, unused)
	}
	n, err := r.from.Read(r.buf[r.end:])
	r.end += n
	if n > 0 {
		return nil // an error comes again
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// readChunks reads a body in chunks (RFC 9112, 7.1), which may have neither
// extensions nor trailers.
func (r *answerReader) readChunks() ([]byte, error) {
	r.chunks = r.chunks[:0]
	for {
		size, err := r.chunkSize()
		if err != nil {
			return nil, err
		}
		if size > maxBody-len(r.chunks) {
			return nil, fmt.Errorf("the chunks are longer than %d bytes", maxBody)
		}
		chunk, err := r.take(size + 2)
		if err != nil {
			return nil, err
		}
		if chunk[size] != '\r' || chunk[size+1] != '\n' {
			return nil, fmt.Errorf("no line end where a chunk of %d bytes ends", size)
		}
		if size == 0 {
			return r.chunks, nil
		}
		r.chunks = append(r.chunks, chunk[:size]...)
	}
}

// chunkSize reads a line with one hexadecimal number of up to 8 digits.
func (r *answerReader) chunkSize() (int, error) {
	size := 0
	for digits := 0; ; digits++ {
		c, err := r.take(1)
		if err != nil {
			return 0, err
		}
		if c[0] == '\r' && digits > 0 {
			if c, err = r.take(1); err != nil {
				return 0, err
			}
			if c[0] != '\n' {
				return 0, errors.New("the line of a chunk's size does not end with CR LF")
			}
			return size, nil
		}
		i := strings.IndexByte("0123456789abcdef", c[0]|0x20)
		if i < 0 || digits == 8 || c[0] < '0' {
			return 0, fmt.Errorf("%q in a chunk's size, expected up to 8 hexadecimal digits and CR LF", c[0])
		}
		size = size<<4 | i
	}
}

// parseHead reads a status line and header fields, each with its CR LF.
func parseHead(raw []byte) (head, error) {
	line, rest, _ := bytes.Cut(raw, []byte("\r\n"))
	// "HTTP/1.1 200 OK"; the reason may be empty, the blank before it not.
	if len(line) < 13 || string(line[:9]) != "HTTP/1.1 " || line[12] != ' ' || !isFieldValue(line[13:]) {
		return head{}, fmt.Errorf("the status line is %q, expected HTTP/1.1, three digits and a reason", shown(line))
	}
	h := head{length: -1}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return head{}, fmt.Errorf("the status is %q, expected three digits", line[9:12])
		}
		h.status = h.status*10 + int(c-'0')
	}
	if h.status < 200 || h.status > 599 {
		return head{}, fmt.Errorf("status %d, expected 200 to 599", h.status)
	}
	sized, chunked := false, false
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, found := bytes.Cut(line, []byte(":"))
		if !found || !isFieldName(name) || !isFieldValue(value) {
			return head{}, fmt.Errorf("%q is no header field", shown(line))
		}
		value = bytes.Trim(value, " \t")
		switch {
		case len(name) == 14 && bytes.EqualFold(name, []byte("Content-Length")):
			if sized {
				return head{}, errors.New("two fields Content-Length")
			}
			length, ok := decimal(value)
			if !ok {
				return head{}, fmt.Errorf("the Content-Length is %q, expected a number up to %d", shown(value), maxBody)
			}
			h.length, sized = length, true
		case len(name) == 17 && bytes.EqualFold(name, []byte("Transfer-Encoding")):
			if chunked || !bytes.EqualFold(value, []byte("chunked")) {
				return head{}, fmt.Errorf("the Transfer-Encoding is %q, expected chunked, once", shown(value))
			}
			chunked = true
		case len(name) == 10 && bytes.EqualFold(name, []byte("Connection")):
			if bytes.EqualFold(value, []byte("close")) {
				h.closing = true
			} else if !bytes.EqualFold(value, []byte("keep-alive")) {
				return head{}, fmt.Errorf("the field Connection is %q, expected close or keep-alive", shown(value))
			}
		}
	}
	bodiless := h.status == 204 || h.status == 304 // RFC 9112, 6.3
	switch {
	case sized && chunked:
		return head{}, errors.New("both a Content-Length and a Transfer-Encoding")
	case bodiless && (sized || chunked):
		return head{}, fmt.Errorf("an answer of status %d announces a body", h.status)
	case bodiless:
		h.length = 0
	case !sized && !chunked:
		return head{}, fmt.Errorf("an answer of status %d has neither a Content-Length nor chunks", h.status)
	}
	return h, nil
}

// shown is the beginning of something that came, for an error.
func shown(b []byte) []byte { return b[:min(len(b), 80)] }

// decimal reads a number from 0 to maxBody.
func decimal(b []byte) (n int, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' || n > maxBody {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, len(b) > 0 && n <= maxBody
}

// isFieldName says whether b is a token (RFC 9110, 5.6.2).
func isFieldName(b []byte) bool {
	for _, c := range b {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		digit := '0' <= c && c <= '9'
		if !letter && !digit && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return len(b) > 0
}

// isFieldValue says whether b may stand in a field or a reason (RFC 9110, 5.5).
func isFieldValue(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
