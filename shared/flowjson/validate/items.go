package validate

import (
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

// itemRules are about options, items of a NavigationList and pictures.
var itemRules = []rule{
	{"option-ids", webClient + `component rules UNIQUE_IDS_IN_DATA_SOURCE and NON_EMPTY_ID_IN_DATA_SOURCE`, checkOptionIDs},
	{"images-or-colors", webClient + `data source validator of 5.0`, checkImagesOrColors},
	{"option-actions", `Meta: "Flow JSON", update_data; ` + webClient + `on-select-action validator of 6.0`, checkOptionActions},
	{"navigation-actions", pageComponents + `, NavigationList; ` + webClient + `NavigationList validator of 6.2`, checkNavigationActions},
	{"navigation-add-ons", pageComponents + `, NavigationList; ` + webClient + `NavigationList validator of 6.2`, checkNavigationAddOns},
	{"image-source", pageComponents + `, Image; ` + webClient + `image source validator`, checkImageSource},
	{"image-size", pageComponents + `, limits of Image and of options; ` + webClient + `component rules IMAGE_SIZE_IS_UNDER_300KB and DATA_SOURCE_IMAGE_SIZE_IS_UNDER_100KB`, checkImageSize},
}

// choiceTypes are the components with a data-source.
var choiceTypes = []string{"CheckboxGroup", "RadioButtonsGroup", "Dropdown", "ChipsSelector"}

func checkOptionIDs(c *checker) {
	c.each(func(at *component) {
		first := map[string]*node{}
		for _, id := range idsOf(at.attr("data-source")) {
			switch before := first[id.Text]; {
			case before != nil:
				c.on(id, before).error(InvalidPropertyValue, "two options have the id %q: give each its own", id.Text)
			case c.version.Below(6, 0) && strings.TrimSpace(id.Text) == "": // from 6.0 blank-texts says it
				c.on(id).error(InvalidPropertyValue, "the id of an option must not be blank")
			default:
				first[id.Text] = id
			}
		}
	}, choiceTypes...)
	c.each(func(at *component) {
		first := map[string]*node{}
		for _, id := range idsOf(at.attr("list-items")) {
			if before := first[id.Text]; before != nil {
				c.on(id, before).warn(DoubtfulRule, "two items have the id %q, so nobody can tell which was chosen", id.Text)
				continue
			}
			first[id.Text] = id
		}
	}, "NavigationList")
}

// idsOf are the ids of the elements of an array that have one.
func idsOf(list *node) []*node {
	if !list.Is(jsontree.Array) {
		return nil
	}
	ids := make([]*node, 0, len(list.Items))
	for _, item := range list.Items {
		if id := item.Get("id"); id.Is(jsontree.String) {
			ids = append(ids, id)
		}
	}
	return ids
}

func checkImagesOrColors(c *checker) {
	c.each(func(at *component) {
		list := at.attr("data-source")
		if !list.Is(jsontree.Array) {
			return
		}
		var image, color *node
		for _, option := range list.Items {
			if n := option.Get("image"); n != nil && image == nil {
				image = n
			}
			if n := option.Get("color"); n != nil && color == nil {
				color = n
			}
		}
		if image != nil && color != nil {
			c.on(color, image).error(ImageAndColor, "the options of one %s have either images or colors, not both", at.typ)
		}
	}, choiceTypes...)
}

func checkOptionActions(c *checker) {
	c.each(func(at *component) {
		list := at.attr("data-source")
		for _, name := range []string{"on-select-action", "on-unselect-action"} {
			own := at.attr(name)
			if own == nil || !list.Is(jsontree.Array) {
				continue
			}
			for _, option := range list.Items {
				if n := option.Get(name); n != nil {
					c.on(n, own).error(InvalidUpdateDataPayload, "%s stands on the %s and on one of its options: keep one", name, at.typ)
				}
			}
		}
	}, choiceTypes...)
}

func checkNavigationActions(c *checker) {
	c.each(func(at *component) {
		list, own := at.attr("list-items"), at.attr("on-click-action")
		if !list.Is(jsontree.Array) {
			return
		}
		var with, without *node
		for _, item := range list.Items {
			if action := item.Get("on-click-action"); action != nil && with == nil {
				with = action
			} else if action == nil && without == nil {
				without = item
			}
		}
		switch {
		case own != nil && with != nil:
			c.on(own, with).error(DuplicatePropertyOfCondition, "on-click-action stands on the NavigationList and on one of its items: keep one")
		case own == nil && without != nil:
			c.onStart(without).error(MissingRequiredProperty, "on-click-action is missing: it stands on the NavigationList or on every item of it")
		}
	}, "NavigationList")
}

// checkNavigationAddOns is about what stands at the end of an item.
func checkNavigationAddOns(c *checker) {
	c.each(func(at *component) {
		list, size := at.attr("list-items"), at.attr("media-size")
		if !list.Is(jsontree.Array) {
			return
		}
		var badge, end, bare *node
		for _, item := range list.Items {
			own := item.Get("end")
			switch {
			case own == nil && bare == nil:
				bare = item
			case own != nil && end == nil:
				end = own
			}
			if own.Is(jsontree.Object) && (len(own.Members) < 1 || len(own.Members) > 2) {
				c.on(own).error(DuplicatePropertyOfCondition, "end has %d texts, expected one or two of title, description and metadata", len(own.Members))
			}
			mark := item.Get("badge")
			if mark == nil {
				continue
			}
			if badge != nil {
				c.on(mark, badge).error(MaxItemsRequired, "only one item of a NavigationList has a badge")
			} else {
				badge = mark
			}
			if own != nil {
				c.on(mark, own).error(InvalidPropertyValue, "an item has a badge or an end, not both")
			}
		}
		if end != nil && bare != nil {
			c.on(end, bare).error(InvalidPropertyValue, "either all items of a NavigationList have an end or none")
		}
		if end != nil && size != nil && size.Text == "large" {
			c.on(size, end).error(InvalidValueForCondition, "media-size is large, which leaves no room for end")
		}
	}, "NavigationList")
}
