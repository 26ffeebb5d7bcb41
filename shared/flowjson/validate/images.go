package validate

import (
	"encoding/base64"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

// pictures calls f for every static picture: src of an Image and an
// ImageCarousel, image of an option or an item.
func (c *checker) pictures(f func(o object, picture *node)) {
	c.values(func(o object, p *property, value *node) {
		if p.format == base64Image && c.static(value, jsontree.String) != nil {
			f(o, value)
		}
	})
}

func checkImageSource(c *checker) {
	c.pictures(func(o object, picture *node) {
		switch size, ok := base64Size(picture.Text); {
		case strings.HasPrefix(picture.Text, "data:"):
			c.on(picture).error(InvalidPropertyValue, "%s is a data: URI, expected only the base64 text after its comma", picture.Name)
		case strings.HasPrefix(picture.Text, "http:") || strings.HasPrefix(picture.Text, "https:"):
			c.on(picture).error(InvalidPropertyValue, "%s is a web address, expected the picture itself as base64", picture.Name)
		case !ok:
			c.on(picture).error(InvalidPropertyValue, "%s is no base64", picture.Name)
		case size == 0:
			c.on(picture).error(InvalidPropertyValue, "%s is empty", picture.Name)
		case !isPicture(picture.Text):
			c.on(picture).warn(DoubtfulRule, "%s is neither a PNG nor a JPEG: those are what clients show", picture.Name)
		}
	})
}

// checkImageSize counts KB of 1024 bytes. Only options have a firm limit: of an
// Image the page recommends one, and an item of a NavigationList shows a
// placeholder instead.
func checkImageSize(c *checker) {
	c.pictures(func(o object, picture *node) {
		most, say := 300, place.warn
		code := DoubtfulRule
		switch {
		case o.in.typ == "NavigationList":
			most = 100
		case picture.Name == "image":
			say, code = place.error, InvalidPropertyValue
			if c.version.AtLeast(6, 0) {
				most = 100
			}
		}
		if size, ok := base64Size(picture.Text); ok && size > most*1024 {
			say(c.on(picture), code, "the picture has %d KB, the most is %d KB", (size+1023)/1024, most)
		}
	})
}

// base64Size is the number of bytes that a base64 text stands for. As in
// JavaScript's atob, white space does not count and padding may be missing.
func base64Size(text string) (size int, ok bool) {
	digits, padding := 0, 0
	for i := range len(text) {
		switch b := text[i]; {
		case b == '=':
			padding++
		case isBase64[b]:
			if padding > 0 {
				return 0, false
			}
			digits++
		case b != ' ' && b != '\n' && b != '\r' && b != '\t' && b != '\f':
			return 0, false
		}
	}
	if digits%4 == 1 || padding > 0 && (padding > 2 || (digits+padding)%4 != 0) {
		return 0, false
	}
	return digits * 3 / 4, true
}

var isBase64 = func() (set [256]bool) {
	for _, b := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		set[b] = true
	}
	return set
}()

// isPicture looks at the first bytes.
func isPicture(text string) bool {
	head := make([]byte, 0, 16)
	for i := 0; i < len(text) && len(head) < 8; i++ {
		if isBase64[text[i]] {
			head = append(head, text[i])
		}
	}
	first, err := base64.RawStdEncoding.DecodeString(string(head))
	return err == nil && (strings.HasPrefix(string(first), "\x89PNG") || strings.HasPrefix(string(first), "\xff\xd8\xff"))
}
