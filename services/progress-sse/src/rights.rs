//! Who may see and change which operation.
//!
//! A scope names the operation's project, or its id when it has none: `progress:read@acme-*`. So an id never opens
//! what belongs to a project.

use domain::{OperationId, ProjectId};
use http_kit::{Access, Action, Problem};
use progress::{Operations, ProgressError};

/// Asks for a right on an operation that exists.
///
/// No round trip for a key that may do so everywhere; one for any other, as the operation knows its project.
pub(crate) async fn require(
    access: &Access,
    action: Action,
    operations: &Operations,
    id: &OperationId,
) -> Result<(), Problem> {
    // No name is `*`: only a scope on everything grants it.
    if access.may(action, "*") {
        return Ok(());
    }
    match operations.project(id).await {
        Ok(project) => access.require(action, resource(project.as_ref(), id)),
        // Whether it exists is for those to know who might see it.
        Err(error @ ProgressError::NotFound) => access.require(action, id.as_str()).and(Err(error.into())),
        Err(error) => Err(error.into()),
    }
}

/// What a scope has to name.
pub(crate) fn resource<'a>(project: Option<&'a ProjectId>, id: &'a OperationId) -> &'a str {
    project.map_or(id.as_str(), ProjectId::as_str)
}
