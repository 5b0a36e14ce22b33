//! The shipped image and compose file on a real engine: `make e2e`.
//!
//! One test, since its parts build on each other: nothing, a stack with three workers, the path
//! through the services, a killed worker, a restarted Redis, and nothing again.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod compose;
mod path;
mod sealed;
mod workers;

use crate::compose::Compose;

#[tokio::test]
#[ignore = "needs a Docker engine and the base images: make e2e"]
async fn the_stack_in_containers_holds_from_build_to_nothing_left() {
    let compose = Compose::build();
    compose.up(3);
    let stack = compose.ready(3).await;

    sealed::every_container_has_no_right_that_it_does_not_need(&compose);
    path::an_entry_a_task_and_an_operation_go_through(&stack).await;
    path::nothing_acknowledged_is_lost_by_a_restart_of_redis(&compose, &stack).await;
    workers::the_demo_holds_with_a_container_killed(&compose, &stack).await;
    path::data_and_keys_survive_a_new_start(&compose, &stack).await;

    compose.down();
    assert_eq!(compose.left_behind(), Vec::<String>::new());
}
