//! The path through all services, two of each: as processes (`make test`), and with the shipped image and compose
//! file on a real engine (`make e2e`).
//!
//! In containers it is one test, since its parts build on each other: nothing, a stack, the path, a restarted Redis, a
//! killed worker, and nothing again; then all of it with TLS to Redis, on the same images.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod compose;
mod health;
mod path;
mod processes;
mod sealed;
mod stack;
mod workers;

use crate::compose::Compose;
use crate::processes::Processes;

#[tokio::test]
async fn the_path_holds_on_two_processes_of_each_service() {
    let processes = Processes::two_of_each().await;

    path::holds_on(&processes.stack).await;
}

#[tokio::test]
async fn the_path_holds_by_tls_with_the_certificates_of_init() {
    let processes = Processes::two_of_each_by_tls().await;

    path::holds_on(&processes.stack).await;
}

#[tokio::test]
#[ignore = "needs a Docker engine and the base images: make e2e"]
async fn the_stack_in_containers_holds_from_build_to_nothing_left() {
    let mut compose = Compose::build();
    for with_tls in [false, true] {
        compose.with_tls = with_tls;
        compose.up();
        let stack = compose.ready().await;

        sealed::every_container_has_no_right_that_it_does_not_need(&compose);
        path::holds_on(&stack).await;
        path::api_keys_are_made_and_revoked_by_hand(&compose, &stack).await;
        path::nothing_acknowledged_is_lost_by_a_restart_of_redis(&compose, &stack).await;
        workers::the_demo_holds_with_a_container_killed(&compose, &stack).await;
        path::redis_refused_nothing(&compose);
        path::data_and_keys_survive_a_new_start(&compose, &stack).await;

        compose.down();
        assert_eq!(compose.left_behind(), Vec::<String>::new());
    }
}
