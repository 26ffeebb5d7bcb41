package validate

import "fmt"

var documentRules, screenRules, routingRules, modelRules []rule

func parseVersion(s string) (v Version, err error) {
	_, err = fmt.Sscanf(s, "%d.%d", &v.Major, &v.Minor)
	return v, err
}
