package validate

var componentRules, itemRules, layoutRules []rule

// componentSpec is what Meta says of one type of component.
type componentSpec struct {
	input bool // the user enters something: it has a name that ${form.name} reads
}

var componentSpecs = map[string]*componentSpec{}
