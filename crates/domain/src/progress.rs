//! What progress-sse, its clients and the workers send each other about operations.
//!
//! A percentage has two decimals at most; finer ones are rounded. `data` and `current` are the producer's own and pass
//! through as they are.

use crate::{CorrelationId, OperationId, OperationState, ProjectId, StepName, StepState, Timestamp};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::fmt;

/// `POST /v1/operations`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewOperation {
    /// Its id; a random one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<OperationId>,
    /// What it does, for a person; at most 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Whose it is: scopes then name the project instead of the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectId>,
    /// Its steps, in order; at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<NewStep>,
    /// Whether an update may name a step that is not listed, and so add it.
    #[serde(default)]
    pub open_steps: bool,
    /// What the request that began it is followed by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<CorrelationId>,
}

/// One step of a new operation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewStep {
    /// Its name, once in an operation.
    pub name: StepName,
    /// Its share of the whole, 1 to 10,000, against those of the other steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 10_000, default = 1))]
    pub weight: Option<u32>,
    /// What `current` counts up to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub total: Option<u64>,
}

/// One report: about a step, or about an operation without steps. At least one field besides `step` is there.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Update {
    /// The step that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepName>,
    /// The step's new state. `running` after an end, and `pending`, begin it again at 0 percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StepState>,
    /// How much is done, 0 to 100. It never goes back unless the step begins again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 100))]
    pub percent: Option<f64>,
    /// How much is done, in units of the producer: instead of `percent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
    /// What `current` counts up to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub total: Option<u64>,
    /// The weight of a step that this update adds to an operation with `open_steps`, 1 to 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 10_000))]
    pub weight: Option<u32>,
    /// A line for a person; at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Any JSON, at most 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub data: Option<Box<RawValue>>,
}

/// `POST …/updates`: one update, or an array of 1 to 100 that are applied all or not at all.
#[derive(Clone, Debug)]
pub enum Updates {
    /// A single one.
    One(Box<Update>),
    /// An array.
    Many(Vec<Update>),
}

impl Updates {
    /// All of them, in order.
    pub fn as_slice(&self) -> &[Update] {
        match self {
            Self::One(update) => std::slice::from_ref(update),
            Self::Many(updates) => updates,
        }
    }

    /// The JSON pointer to one of them: empty for a single one.
    pub fn pointer(&self, index: usize) -> String {
        match self {
            Self::One(_) => String::new(),
            Self::Many(_) => format!("/{index}"),
        }
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Updates {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ArrayBuilder, OneOfBuilder};
        let one = utoipa::openapi::Ref::from_schema_name("Update");
        let many = ArrayBuilder::new().items(one.clone()).min_items(Some(1)).max_items(Some(100));
        utoipa::openapi::schema::Schema::OneOf(OneOfBuilder::new().item(one).item(many).build()).into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Updates {
    fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>) {
        schemas.push(("Update".to_owned(), <Update as utoipa::PartialSchema>::schema()));
        <Update as utoipa::ToSchema>::schemas(schemas);
    }
}

// By hand instead of `untagged`, which would say "did not match any variant" instead of naming the field.
impl<'de> Deserialize<'de> for Updates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Updates;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an update or an array of updates")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Updates, A::Error> {
                Ok(Updates::One(Box::new(Update::deserialize(MapAccessDeserializer::new(map))?)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Updates, A::Error> {
                Ok(Updates::Many(Vec::deserialize(SeqAccessDeserializer::new(seq))?))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

/// `POST …/complete`, `…/fail`, `…/cancel`: last words. An empty object says none.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LastWords {
    /// A line for a person; at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Any JSON, at most 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub data: Option<Box<RawValue>>,
}

/// Where an operation stands after a write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Standing {
    /// The operation.
    pub id: OperationId,
    /// The id of its last event, `<epoch>.<sequence>`.
    pub cursor: String,
    /// Its state.
    pub state: OperationState,
    /// How much of the whole is done, 0 to 100.
    pub percent: f64,
}

/// `GET /v1/operations/{id}`, and the data of the events `snapshot` and `reset`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Snapshot {
    /// The operation.
    pub id: OperationId,
    /// The id of the last event that is in this snapshot, `<epoch>.<sequence>`.
    pub cursor: String,
    /// Its state.
    pub state: OperationState,
    /// How much of the whole is done, 0 to 100.
    pub percent: f64,
    /// What it does, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectId>,
    /// What the request that began it is followed by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<CorrelationId>,
    /// The last message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The last data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub data: Option<Box<RawValue>>,
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When the first report came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// When it is failed unless something is reported before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
}

/// One step of a snapshot, or of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Step {
    /// Its name.
    pub name: StepName,
    /// Its state.
    pub state: StepState,
    /// How much of it is done, 0 to 100.
    pub percent: f64,
    /// Its share of the whole against the other steps; only in snapshots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// How much is done, in units of the producer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
    /// What `current` counts up to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// When it began; only in snapshots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended; only in snapshots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_are_one_or_an_array_and_a_wrong_field_is_named() {
        let one: Updates = serde_json::from_str(r#"{"step":"load","data":{"n": 1.50}}"#).unwrap();
        assert_eq!(one.as_slice()[0].data.as_ref().unwrap().get(), r#"{"n": 1.50}"#);
        let many: Updates = serde_json::from_str(r#"[{"percent":1},{"message":"x"}]"#).unwrap();
        assert_eq!(many.as_slice().len(), 2);
        for (wrong, says) in [
            (r#"[{"percent":"1"}]"#, "expected f64"),
            (r#"{"percentage":1}"#, "unknown field `percentage`"),
            ("7", "an update or an array of updates"),
        ] {
            let error = serde_json::from_str::<Updates>(wrong).unwrap_err().to_string();
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }
}
