-- +goose Up
-- What editing flows through the API needs.
ALTER TABLE flows
    ADD label    text,                      -- the seed's free "version"; null: none was given
    ADD revision bigint NOT NULL DEFAULT 1; -- counts changes: what an ETag is made of

-- Flows that exist are called by the version of Flow JSON that they declare, as
-- new ones are.
UPDATE flows f SET label = substring(convert_from(v.flow_json, 'UTF8') FROM '"version"\s*:\s*"([^"\\]{1,64})"')
FROM flow_versions v WHERE v.account = f.account AND v.flow_id = f.id AND v.version = f.version;

-- A version may be stored although it cannot run. It is never active.
ALTER TABLE flow_versions
    ALTER definition DROP NOT NULL,
    ADD broken text, -- why it cannot run
    ADD CONSTRAINT flow_versions_runs CHECK ((definition IS NULL) <> (broken IS NULL));

-- Names that flows had before they were renamed: edges must be told to forget
-- them.
CREATE TABLE flow_former_names (
    account    text        NOT NULL DEFAULT 'default',
    name       text        NOT NULL,
    flow_id    uuid        NOT NULL REFERENCES flows (id),
    renamed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account, name)
);

-- +goose Down
DROP TABLE flow_former_names;
DELETE FROM flow_versions WHERE definition IS NULL;
ALTER TABLE flow_versions DROP broken, ALTER definition SET NOT NULL;
ALTER TABLE flows DROP revision, DROP label;
