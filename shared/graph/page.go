package graph

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
)

const (
	perPage  = 100
	maxPages = 100
)

// list reads every page of an edge. The next page is asked for by its cursor:
// Meta's own link to it holds the token.
func list[T any](ctx context.Context, c *Client, path string, query url.Values) ([]T, error) {
	if query == nil {
		query = url.Values{}
	}
	query.Set("limit", fmt.Sprint(perPage))
	all := []T{}
	for range maxPages {
		var page struct {
			Data   *[]T `json:"data"`
			Paging struct {
				Cursors struct {
					After string `json:"after"`
				} `json:"cursors"`
				Next json.RawMessage `json:"next"`
			} `json:"paging"`
		}
		if err := c.get(ctx, path, query, &page); err != nil {
			return nil, err
		}
		if page.Data == nil {
			return nil, fmt.Errorf("GET /%s: Meta's answer has no data, expected a list", path)
		}
		all = append(all, *page.Data...)
		after := page.Paging.Cursors.After
		if len(page.Paging.Next) == 0 || after == "" {
			return all, nil
		}
		if after == query.Get("after") {
			return nil, fmt.Errorf("GET /%s: Meta's pages go round in a circle", path)
		}
		query.Set("after", after)
	}
	return nil, fmt.Errorf("GET /%s: the list has more than %d entries, which is more than this program reads", path, maxPages*perPage)
}
