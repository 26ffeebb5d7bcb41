-- +goose Up
-- Every list of records is read in the order of one of these indexes, or finds
-- its few rows by one. The id makes the order total.

CREATE INDEX flow_sessions_started ON flow_sessions (account, started_at, id);
CREATE INDEX flow_sessions_activity ON flow_sessions (account, last_activity_at, id);
CREATE INDEX flow_sessions_flow ON flow_sessions (account, flow, started_at, id);
CREATE INDEX flow_sessions_flow_id ON flow_sessions (account, flow_id, started_at, id) WHERE flow_id IS NOT NULL;
CREATE INDEX flow_sessions_user ON flow_sessions (account, user_id) WHERE user_id IS NOT NULL;

CREATE INDEX flow_responses_answered ON flow_responses (account, answered_at, id);
CREATE INDEX flow_responses_flow ON flow_responses (account, flow, answered_at, id) WHERE flow IS NOT NULL;
CREATE INDEX flow_responses_flow_id ON flow_responses (account, flow_id, answered_at, id) WHERE flow_id IS NOT NULL;
CREATE INDEX flow_responses_phone ON flow_responses (account, phone_number) WHERE phone_number IS NOT NULL;
CREATE INDEX flow_responses_user ON flow_responses (account, user_id) WHERE user_id IS NOT NULL;
CREATE INDEX flow_responses_session ON flow_responses (session_id) WHERE session_id IS NOT NULL;

-- With the id, as the others; and answers are looked for by their token whether
-- they have found their session or not.
DROP INDEX flow_responses_received;
CREATE INDEX flow_responses_received ON flow_responses (account, received_at, id);
DROP INDEX flow_responses_token;
CREATE INDEX flow_responses_token ON flow_responses (account, token_hash) WHERE token_hash IS NOT NULL;

CREATE INDEX webhook_events_account ON webhook_events (account, received_at, id);
CREATE INDEX webhook_events_problem ON webhook_events (received_at, id) WHERE problem IS NOT NULL;
CREATE INDEX contacts_merged ON contacts (merged_into) WHERE merged_into IS NOT NULL;

-- +goose Down
DROP INDEX contacts_merged, webhook_events_problem, webhook_events_account;
DROP INDEX flow_responses_token;
CREATE INDEX flow_responses_token ON flow_responses (account, token_hash) WHERE session_id IS NULL;
DROP INDEX flow_responses_received;
CREATE INDEX flow_responses_received ON flow_responses (account, received_at);
DROP INDEX flow_responses_session, flow_responses_user, flow_responses_phone, flow_responses_flow_id, flow_responses_flow, flow_responses_answered;
DROP INDEX flow_sessions_user, flow_sessions_flow_id, flow_sessions_flow, flow_sessions_activity, flow_sessions_started;
