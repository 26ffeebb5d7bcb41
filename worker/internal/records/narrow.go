package records

import "github.com/google/uuid"

// flow adds a filter by a flow's id, or by the name under which its rows were
// written.
func (q *query) flow(table, nameOrID string) {
	if id, err := uuid.Parse(nameOrID); err == nil {
		q.and(table+".flow_id = %s", id)
	} else {
		q.andText(table+".flow = %s", nameOrID)
	}
}

// userOfPhone is the user id of whoever has a phone number now.
func (q *query) userOfPhone(phone string) string {
	return "(SELECT c.user_id FROM contacts c WHERE c.account = " + q.account + " AND c.phone_number = " + phone + " AND c.merged_into IS NULL)"
}

// versionOf is the number of the version whose definition a row of table names.
// A flow may have been renamed since, or stored after the row.
func versionOf(table string) string {
	return `(SELECT max(v.version) FROM flow_versions v JOIN flows f ON f.id = v.flow_id
		WHERE v.account = ` + table + `.account AND v.definition = ` + table + `.definition
			AND (f.id = s.flow_id OR s.flow_id IS NULL AND f.name = s.flow))`
}
