//! The file as a server reads it.

use redis_acl::{User, acl_file};
use redis_core::{Redis, RedisConfig};
use std::time::Duration;
use testkit::{RedisOptions, RedisServer};

const SOON: Duration = Duration::from_secs(5);
/// SHA-256 of `secret`.
const SUM: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

#[tokio::test]
async fn the_server_under_test_loads_it_and_lets_in_who_has_a_name_and_its_password() {
    let file = tempfile::NamedTempFile::new().unwrap();
    // Open at first: the state of a test's server is asked by nobody in particular.
    std::fs::write(file.path(), "user default on nopass ~* &* +@all\n").unwrap();
    let settings = vec![("aclfile".to_owned(), file.path().display().to_string())];
    let server = RedisServer::with(RedisOptions { settings, ..RedisOptions::default() }).await;
    std::fs::write(file.path(), acl_file(|_| SUM.to_owned()) + "\n").unwrap();

    assert_eq!(server.cli(&["ACL", "LOAD"]).await, "OK");

    assert!(server.cli(&["PING"]).await.starts_with("NOAUTH"));
    for user in User::ALL {
        let password = |text: &str| RedisConfig {
            username: Some(user.name().to_owned()),
            password: Some(text.to_owned().into()),
            ..RedisConfig::at(server.url())
        };
        assert!(Redis::connect(&password("secret")).ping(SOON).await.is_ok(), "{user:?}");
        let refused = server.cli(&["AUTH", user.name(), "wrong"]).await;
        assert!(refused.starts_with("WRONGPASS"), "{user:?}: {refused}");
    }
}

#[test]
fn no_two_users_share_a_name_and_each_line_says_all_that_one_may() {
    let file = acl_file(|user| user.name().to_owned());
    let lines: Vec<_> = file.lines().collect();

    assert_eq!(lines[0], "user default off resetpass ~* &* +@all");
    assert_eq!(lines.len(), 1 + User::ALL.len());
    for (line, user) in lines[1..].iter().zip(User::ALL) {
        let name = user.name();
        assert!(
            line.starts_with(&format!("user {name} on resetpass #{name} resetkeys resetchannels -@all +")),
            "{line}"
        );
        assert!(!line.contains("~*") && !line.contains("&*") && !line.contains("+@"), "{line}");
    }
}
