package testkit

// SeedSchema makes the tables that whatsapp-flows-server's five migrations make.
const SeedSchema = `
	CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		NEW.updated_at := now();
		RETURN NEW;
	END $$;

	CREATE TABLE flows (
		id            uuid         NOT NULL DEFAULT gen_random_uuid() PRIMARY KEY,
		name          varchar(255) NOT NULL UNIQUE,
		version       varchar(50)  NOT NULL DEFAULT '7.2',
		flow_json     jsonb        NOT NULL,
		description   text,
		status        varchar(50)  NOT NULL DEFAULT 'active' CHECK (status = ANY ('{active,inactive,deprecated}')),
		meta_flow_id  varchar(255),
		template_name varchar(255),
		created_at    timestamp DEFAULT now(),
		updated_at    timestamp DEFAULT now()
	);
	CREATE INDEX idx_flows_status ON flows (status);
	CREATE INDEX idx_flows_meta_flow_id ON flows (meta_flow_id) WHERE meta_flow_id IS NOT NULL;
	CREATE INDEX idx_flows_name ON flows (name);
	CREATE TRIGGER update_flows_updated_at BEFORE UPDATE ON flows FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

	CREATE TABLE flow_sessions (
		id               uuid         NOT NULL DEFAULT gen_random_uuid() PRIMARY KEY,
		flow_id          uuid         NOT NULL REFERENCES flows ON DELETE CASCADE,
		flow_token       varchar(500) NOT NULL UNIQUE,
		phone_number     varchar(50),
		current_screen   varchar(255),
		session_data     jsonb DEFAULT '{}',
		status           varchar(50)  NOT NULL DEFAULT 'active' CHECK (status = ANY ('{active,completed,expired,error}')),
		started_at       timestamp DEFAULT now(),
		completed_at     timestamp,
		last_activity_at timestamp DEFAULT now(),
		error_message    text,
		updated_at       timestamp DEFAULT now()
	);
	CREATE INDEX idx_flow_sessions_flow_token ON flow_sessions (flow_token);
	CREATE INDEX idx_flow_sessions_flow_id ON flow_sessions (flow_id);
	CREATE INDEX idx_flow_sessions_status ON flow_sessions (status);
	CREATE INDEX idx_flow_sessions_phone ON flow_sessions (phone_number) WHERE phone_number IS NOT NULL;
	CREATE TRIGGER update_flow_sessions_updated_at BEFORE UPDATE ON flow_sessions FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

	CREATE TABLE flow_responses (
		id                  uuid         NOT NULL DEFAULT gen_random_uuid() PRIMARY KEY,
		session_id          uuid         NOT NULL REFERENCES flow_sessions ON DELETE CASCADE,
		flow_id             uuid         NOT NULL REFERENCES flows ON DELETE CASCADE,
		flow_token          varchar(500) NOT NULL,
		phone_number        varchar(50),
		response_data       jsonb        NOT NULL,
		raw_webhook_payload jsonb,
		received_at         timestamp DEFAULT now()
	);
	CREATE INDEX idx_flow_responses_session_id ON flow_responses (session_id);
	CREATE INDEX idx_flow_responses_flow_id ON flow_responses (flow_id);
	CREATE INDEX idx_flow_responses_flow_token ON flow_responses (flow_token);
	CREATE INDEX idx_flow_responses_phone ON flow_responses (phone_number) WHERE phone_number IS NOT NULL;
	CREATE INDEX idx_flow_responses_received_at ON flow_responses (received_at DESC);

	CREATE TABLE webhook_events (
		id                   uuid         NOT NULL DEFAULT gen_random_uuid() PRIMARY KEY,
		event_type           varchar(100) NOT NULL,
		raw_payload          jsonb        NOT NULL,
		signature            varchar(255),
		signature_valid      boolean DEFAULT false,
		processed            boolean DEFAULT false,
		callback_sent        boolean DEFAULT false,
		callback_url         text,
		callback_status_code integer,
		callback_error       text,
		received_at          timestamp DEFAULT now(),
		processed_at         timestamp,
		callback_sent_at     timestamp
	);
	CREATE INDEX idx_webhook_events_event_type ON webhook_events (event_type);
	CREATE INDEX idx_webhook_events_processed ON webhook_events (processed);
	CREATE INDEX idx_webhook_events_callback_sent ON webhook_events (callback_sent);
	CREATE INDEX idx_webhook_events_received_at ON webhook_events (received_at DESC);`

// SeedRows fills them with n users who answered one flow, each with a session, an
// answer and the webhook that brought it.
const SeedRows = `
	INSERT INTO flows (id, name, flow_json, created_at) VALUES ('f10f0000-0000-4000-8000-000000000001', 'csat-feedback', $1, '2026-01-01 08:00');
	INSERT INTO flow_sessions (id, flow_id, flow_token, phone_number, session_data, status, started_at, completed_at, last_activity_at)
	SELECT ('5e550000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'f10f0000-0000-4000-8000-000000000001', 'token-' || n, '1650555' || lpad(n::text, 4, '0'),
		'{"score":"9"}', 'completed', timestamp '2026-02-01 10:00' + n * interval '1 minute', timestamp '2026-02-01 10:00:30' + n * interval '1 minute',
		timestamp '2026-02-01 10:00:30' + n * interval '1 minute'
	FROM generate_series(1, $2) AS n;
	INSERT INTO flow_responses (id, session_id, flow_id, flow_token, phone_number, response_data, raw_webhook_payload, received_at)
	SELECT ('a2500000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, s.id, s.flow_id, s.flow_token, s.phone_number,
		jsonb_build_object('flow_token', s.flow_token, 'score', '9', 'comment', 'Answer ' || n),
		jsonb_build_object('from', s.phone_number, 'id', 'wamid.' || n, 'timestamp', extract(epoch FROM s.completed_at)::bigint::text, 'type', 'interactive',
			'context', jsonb_build_object('from', '15550001111', 'id', 'wamid.sent.' || n),
			'interactive', jsonb_build_object('type', 'nfm_reply', 'nfm_reply', jsonb_build_object('name', 'flow', 'body', 'Sent',
				'response_json', format('{"score": "9", "flow_token": "%s", "comment": "Answer %s"}', s.flow_token, n)))),
		s.completed_at + interval '1 second'
	FROM generate_series(1, $2) AS n JOIN flow_sessions s ON s.flow_token = 'token-' || n;
	INSERT INTO webhook_events (id, event_type, raw_payload, signature, signature_valid, processed, callback_sent, callback_url, callback_status_code, received_at, processed_at, callback_sent_at)
	SELECT ('e7e00000-0000-4000-8000-' || right(r.id::text, 12))::uuid, 'messages',
		jsonb_build_object('object', 'whatsapp_business_account', 'entry', jsonb_build_array(jsonb_build_object('id', '300', 'changes', jsonb_build_array(
			jsonb_build_object('field', 'messages', 'value', jsonb_build_object('messaging_product', 'whatsapp',
				'metadata', jsonb_build_object('phone_number_id', '100', 'display_phone_number', '15550001111'),
				'contacts', jsonb_build_array(jsonb_build_object('wa_id', r.phone_number, 'profile', jsonb_build_object('name', 'User ' || right(r.phone_number, 4)))),
				'messages', jsonb_build_array(r.raw_webhook_payload))))))),
		'sha256=00', true, true, true, 'https://crm.example/hook', 200, r.received_at, r.received_at, r.received_at
	FROM flow_responses r WHERE r.raw_webhook_payload IS NOT NULL;`
