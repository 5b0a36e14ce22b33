//! Tokens of every algorithm, and everything that is wrong with one.

use super::*;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

/// Rules with the four keys below.
fn rules(more: &str) -> JwtRules {
    let keys = [
        ("hs", Algorithm::HS256),
        ("rs", Algorithm::RS256),
        ("es", Algorithm::ES256),
        ("ed", Algorithm::EdDSA),
    ];
    let jwk = |(id, algorithm): (&str, Algorithm)| {
        let mut jwk = Jwk::from_encoding_key(&key(algorithm), algorithm).unwrap();
        jwk.common.key_id = Some(id.to_owned());
        serde_json::to_value(jwk).unwrap()
    };
    of_keys(&json!({ "keys": keys.map(jwk) }), more).unwrap()
}

fn of_keys(jwks: &Value, more: &str) -> Result<JwtRules, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("jwks.json"), jwks.to_string()).unwrap();
    let entry: JwtEntry = toml::from_str(&format!("jwks_file = \"jwks.json\"\n{more}")).unwrap();
    entry.checked(Some(folder.path()))
}

fn key(algorithm: Algorithm) -> EncodingKey {
    let der = |text: &str| BASE64.decode(text.as_bytes()).unwrap();
    match algorithm {
        Algorithm::HS256 => EncodingKey::from_secret(SECRET),
        Algorithm::RS256 => EncodingKey::from_rsa_der(&der(RSA)),
        Algorithm::ES256 => EncodingKey::from_ec_der(&der(EC)),
        _ => EncodingKey::from_ed_der(&der(ED)),
    }
}

fn token(id: Option<&str>, algorithm: Algorithm, claims: &Value) -> String {
    let header = Header { kid: id.map(str::to_owned), ..Header::new(algorithm) };
    encode(&header, claims, &key(algorithm)).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a token's times are judged by the clock of this node")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn claims() -> Value {
    json!({ "sub": "42", "exp": now() + 600, "org": "acme", "plan": "gold" })
}

fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[name] = value.into();
    claims
}

#[test]
fn a_token_of_each_algorithm_says_who_asks() {
    let rules = rules("project_claim = \"org\"\ntier_claim = \"plan\"");
    for (id, algorithm) in [
        ("hs", Algorithm::HS256),
        ("rs", Algorithm::RS256),
        ("es", Algorithm::ES256),
        ("ed", Algorithm::EdDSA),
    ] {
        let identity = rules.identify(&token(Some(id), algorithm, &claims())).unwrap();
        assert_eq!(identity.user.unwrap().as_str(), "42", "{id}");
        assert_eq!(identity.project.unwrap().as_str(), "acme");
        assert_eq!(identity.tier.unwrap(), "gold");
    }
    let numbered = token(Some("hs"), Algorithm::HS256, &with("sub", 42));
    assert_eq!(rules.identify(&numbered).unwrap().user.unwrap().as_str(), "42");
}

#[test]
fn the_key_says_the_algorithm_and_not_the_token() {
    let rules = rules("");
    // A token that is signed with what everybody may know of the RSA key, as if that were an HMAC secret.
    let public = Jwk::from_encoding_key(&key(Algorithm::RS256), Algorithm::RS256).unwrap();
    let AlgorithmParameters::RSA(public) = public.algorithm else { panic!("an RSA key") };
    let header = Header { kid: Some("rs".to_owned()), ..Header::new(Algorithm::HS256) };
    for secret in [public.n.as_bytes(), &BASE64URL_NOPAD.decode(public.n.as_bytes()).unwrap()] {
        let forged = encode(&header, &claims(), &EncodingKey::from_secret(secret)).unwrap();
        assert_eq!(rules.identify(&forged), Err(Wrong("the token's algorithm is not its key's")));
    }
    // Each key with each other's algorithm.
    for (id, algorithm) in [("hs", Algorithm::RS256), ("es", Algorithm::EdDSA), ("ed", Algorithm::HS256)] {
        assert!(rules.identify(&token(Some(id), algorithm, &claims())).is_err(), "{id}");
    }
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    for none in ["none", "None", "NONE", ""] {
        let header = part(&json!({ "alg": none, "kid": "hs", "typ": "JWT" }));
        for signature in ["", "AAAA"] {
            assert!(rules.identify(&format!("{header}.{}.{signature}", part(&claims()))).is_err(), "{none}");
        }
    }
}

#[test]
fn a_token_that_does_not_hold_is_refused_and_says_why() {
    let rules = rules("issuer = \"me\"\naudience = [\"api\", \"web\"]");
    let hs = |claims: &Value| rules.identify(&token(Some("hs"), Algorithm::HS256, claims));
    let mut good = claims();
    (good["iss"], good["aud"]) = ("me".into(), json!(["api"]));
    assert!(hs(&good).is_ok());

    let changed = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    for (claims, why) in [
        (changed("exp", json!(now() - 60)), "the token has expired"),
        (changed("nbf", json!(now() + 60)), "the token is not valid yet"),
        (changed("iss", json!("you")), "the token is from another issuer"),
        (changed("aud", json!("other")), "the token is for another audience"),
        (without("exp"), "the token lacks exp, iss or aud"),
        (without("iss"), "the token lacks exp, iss or aud"),
        (without("aud"), "the token lacks exp, iss or aud"),
        (without("sub"), "the token does not say who its user is"),
        (changed("sub", json!("key:admin")), "the token's user has a name that only API keys have"),
    ] {
        assert_eq!(hs(&claims), Err(Wrong(why)));
    }
    let unknown = "the token is signed by a key that is not known";
    for id in [Some("other"), Some(""), None] {
        let token = token(id, Algorithm::HS256, &good);
        assert_eq!(rules.identify(&token), Err(Wrong(unknown)), "{id:?}");
    }
    let named = Header { kid: Some("hs".into()), ..Header::default() };
    let other = encode(&named, &good, &EncodingKey::from_secret(&[9; 32]));
    assert_eq!(rules.identify(&other.unwrap()), Err(Wrong("the token's signature does not hold")));
    let critical = Header { kid: Some("hs".into()), crit: Some(vec!["x".to_owned()]), ..Header::default() };
    let critical = encode(&critical, &good, &key(Algorithm::HS256)).unwrap();
    assert!(rules.identify(&critical).is_err());
}

#[test]
fn a_token_for_somebody_is_refused_where_nobody_is_named() {
    let token = token(Some("hs"), Algorithm::HS256, &with("aud", "other"));
    assert_eq!(rules("").identify(&token), Err(Wrong("the token is for another audience")));
}

#[test]
fn a_claim_of_another_type_is_wrong_and_not_absent() {
    let rules = rules("user_claim = \"id\"\nproject_claim = \"org\"\ntier_claim = \"plan\"");
    let identify = |name: &str, value: &Value| {
        let mut claims = with("id", "42");
        claims[name] = value.clone();
        rules.identify(&token(Some("hs"), Algorithm::HS256, &claims))
    };
    for value in [json!(["acme"]), json!({ "id": "acme" }), json!(true)] {
        for name in ["id", "org", "plan"] {
            let wrong = "what the token says of user, project or tier is neither a text nor a number";
            assert_eq!(identify(name, &value), Err(Wrong(wrong)), "{name}: {value}");
        }
        for name in ["exp", "nbf", "aud"] {
            assert!(identify(name, &value).is_err(), "{name}: {value}");
        }
    }
    assert!(identify("aud", &json!(7)).is_err());
    assert_eq!(identify("org", &Value::Null).unwrap().project, None, "null is JSON's word for absent");
}

#[test]
fn what_limits_and_fields_cannot_hold_is_wrong() {
    let rules = rules("project_claim = \"org\"\ntier_claim = \"plan\"");
    for (name, value) in [
        ("org", ""),
        ("org", "a b"),
        ("org", "acme+user:42"),
        ("plan", ""),
        ("plan", "gold\r\nSluice-User: admin"),
        ("plan", &"a".repeat(65)),
        ("sub", "key:main"),
    ] {
        let token = token(Some("hs"), Algorithm::HS256, &with(name, value));
        assert!(rules.identify(&token).is_err(), "{name}: {value:?}");
    }
}

#[test]
fn a_token_over_8_kib_is_refused_before_it_is_decoded() {
    let rules = rules("");
    let of_bytes = |filling: usize| token(Some("hs"), Algorithm::HS256, &with("x", "a".repeat(filling)));
    let fits = of_bytes(5900);
    assert!(fits.len() <= 8192 && rules.identify(&fits).is_ok(), "{}", fits.len());
    let too_long = Err(Wrong("the token is longer than 8192 bytes"));
    for longer in [of_bytes(6200), "a".repeat(8193), format!("{}.b.c", "\u{e9}".repeat(5000))] {
        assert_eq!(rules.identify(&longer), too_long, "{} bytes", longer.len());
    }
}

#[test]
fn every_subject_is_a_user_of_its_own() {
    let rules = rules("");
    let identify =
        |subject: &str| rules.identify(&token(Some("hs"), Algorithm::HS256, &with("sub", subject)));
    for (subject, user) in [
        ("auth0|1", "auth0|1"),
        ("someone@example.org", "someone@example.org"),
        ("some+one@example.org", "some%2Bone@example.org"),
        ("a b", "a%20b"),
        ("a%20b", "a%2520b"),
        ("https://id.example.org/42", "https:%2F%2Fid.example.org%2F42"),
        ("{tag}", "%7Btag%7D"),
        ("na\u{ef}ve", "na%C3%AFve"),
        ("a\r\nsluice-tier: gold\0", "a%0D%0Asluice-tier:%20gold%00"),
        ("42+ip:192.0.2.7", "42%2Bip:192.0.2.7"),
    ] {
        assert_eq!(identify(subject).unwrap().user.unwrap().as_str(), user, "{subject}");
    }
    for none in [String::new(), "a".repeat(129), " ".repeat(43)] {
        assert_eq!(
            identify(&none),
            Err(Wrong("the token's user is empty, or over 128 characters")),
            "{none}"
        );
    }
}

#[test]
fn a_key_of_another_kind_leaves_the_others() {
    let good = json!({ "kty": "oct", "kid": "hs", "k": BASE64URL_NOPAD.encode(SECRET) });
    for odd in [
        json!({ "kty": "EC", "kid": "a", "crv": "P-384", "x": "AA", "y": "AA" }),
        json!({ "kty": "EC", "kid": "a", "crv": "secp256k1", "x": "AA", "y": "AA" }),
        json!({ "kty": "AKP", "kid": "a", "alg": "ML-DSA-44", "pub": "BwcH" }),
        json!({ "kty": "RSA", "kid": "a", "alg": "PS256", "n": "A".repeat(342), "e": "AQAB" }),
        json!({ "kty": "RSA", "kid": "a", "n": "AQAB", "e": "AQAB" }),
        json!({ "kty": "oct", "kid": "a", "k": "BwcH" }),
        json!({ "kid": "a" }),
        json!("BwcH"),
    ] {
        let rules = of_keys(&json!({ "keys": [odd, good] }), "").unwrap();
        assert_eq!(rules.key_ids(), ["hs (HS256)"], "{odd}");
        assert!(rules.identify(&token(Some("hs"), Algorithm::HS256, &claims())).is_ok());
        let skipped: Vec<_> = rules.skipped().collect();
        assert!(skipped[0].contains("jwks.json: skipped key 0: ") && skipped.len() == 1, "{skipped:?}");
        assert!(!skipped[0].contains("BwcH"), "{skipped:?}");

        let error = of_keys(&json!({ "keys": [odd, odd] }), "").map(drop).unwrap_err();
        assert!(error.contains("no key that can be used; key 0: "), "{error}");
    }
}

#[test]
fn clocks_are_apart_by_two_minutes_at_most() {
    let expired = |seconds: u64| token(Some("hs"), Algorithm::HS256, &with("exp", now() - seconds));
    assert!(rules("leeway_s = 120").identify(&expired(100)).is_ok());
    assert!(rules("leeway_s = 120").identify(&expired(200)).is_err());
    assert!(rules("leeway_s = 0").identify(&expired(2)).is_err());
    for wrong in ["121", "18446744073709551615", "-1", "\"5\""] {
        let text = format!("jwks_file = \"jwks.json\"\nissuer = \"me\"\nleeway_s = {wrong}");
        let error = toml::from_str::<JwtEntry>(&text).unwrap_err();
        assert_eq!(error.span().map(|span| &text[span]), Some(wrong), "{error}");
    }
}

#[test]
fn without_a_key_that_can_be_used_the_file_is_a_mistake_that_shows_no_secret() {
    let secret = |bytes: usize, id: &str| json!({ "kty": "oct", "kid": id, "k": BASE64URL_NOPAD.encode(&vec![7; bytes]) });
    let named = |mut jwk: Value, algorithm: &str| {
        jwk["alg"] = algorithm.into();
        jwk
    };
    let nameless = json!({ "kty": "oct", "k": BASE64URL_NOPAD.encode(SECRET) });
    for (keys, why) in [
        (json!([]), "no key that can be used"),
        (
            json!([{ "kty": "oct", "use": "enc", "k": BASE64URL_NOPAD.encode(SECRET) }]),
            "no key that can be used",
        ),
        (json!([secret(31, "a")]), "at least 32 bytes"),
        (json!([secret(32, "a"), secret(33, "a")]), "another's too"),
        (json!([secret(32, "a"), nameless]), "of several keys each needs a kid"),
        (json!([named(secret(64, "a"), "HS512")]), "none of HS256"),
        (json!([named(secret(64, "a"), "RS256")]), "none of HS256"),
        (json!([{ "kty": "RSA", "n": "AQAB", "e": "AQAB" }]), "at least 2048 bits"),
        (json!([{ "kty": "EC", "crv": "P-384", "x": "AA", "y": "AA" }]), "none of HS256"),
        (json!([{ "kty": 1 }]), "none of HS256"),
        (json!([{ "kty": "oct", "k": "BwcH", "key_ops": 1 }]), "not a JWK"),
    ] {
        let error = of_keys(&json!({ "keys": keys }), "").map(drop).unwrap_err();
        assert!(error.contains(why), "{error}");
        assert!(!error.contains("BwcH"), "{error}");
    }
    let shown = format!("{:?}", rules(""));
    assert!(shown.contains("hs (HS256)") && !shown.contains(&BASE64URL_NOPAD.encode(SECRET)), "{shown}");
}

/// Made for this test, and used nowhere else.
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const ED: &str = "MC4CAQAwBQYDK2VwBCIEIIyLDggv36vqAn0YkzZ38I/mgx3kf/Hffa5PDONsqN5X";
const EC: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgkVJXutyioIaziciM+X0E2x0qjmEilAtV75NfQJ6G02ChRANCAAQSifTja4agxcimlvuvxKs2z+SCxdiEaO5TVZkOfcob74k/MSr4wyhbAHu8HgpRLklPSqCGtXw5SYVO91M7m5Ot";
const RSA: &str = "\
    MIIEogIBAAKCAQEAhywLzYHrKY/RDWC95peSEPzYMNShqVbxYnKhKj9th7D6uv89QBfeZyuXMdG9D4C/Q95BbwtYk0TCHcqkBW9GqqcD7RyW/0\
    YH/hIPWcoko5IjoZL3No/TMJzGjmQBkqBaV1oBNAdcINEDeHiZfZpDmOzkKh3UBBMUeq0hpYskcJLJB0ET4VovdFdS2io1VLFNbNPl5KmCq6Lb\
    MpcUXdqpnVGH/TLEs7sASkoPZxnK6Flzl/eaxGXVpwujoeUScALEcJ0RJ16/XdDNFu3cJjIK/OWgW/oXIHRV/BCaUAlP6ExAkrbDxBtw+Yb5s3\
    23OyR7xJpVT5Em25nt1lZ2yHXY1wIDAQABAoIBAAaGtGKC3B6WFdL5BuzRXZkvXqVrkWCSf4taxc2QjBJp6OPKu04oY4cEqO3xVpj0hNzbKA/w\
    nXatclfWNvls3XMTfDzgTVQG3A+YF0tPrK7ZuURYSvzvOxQ/mtXjczCn8voBBkouSXRA0yjnswrIPheYkbg3giCDkVC494USxOV1xtiFWQcjSX\
    FQ6Q0Kn7tq38/9ZupVtd2rFyHUGWM81ic49LWjGilyrAHebN12Hus1d7/wuwKiODYRPaUb773+ZUmkdFEo7WsEdUj5/xrmlp+fJgMGftPLw6tj\
    twDkyQecLM3WUhUx9HdBQeMrNASkTRxNkiG1ZHdOZiQ5mlqGv6ECgYEAvBxsTMSOd9Wt6bcoH4rFuH2HayIN6Lw/zQ/4ORE3P/auwKewaIktrY\
    lxXXnidpfHt7IT3Sk16jI8b+k6ufqnCR4XK6pryQEfhPXUeAv8hO0rlprg7ql3XRQl8Tmu8MLCUpEYiDlD3n8OQKKa+8he9LBPUyx9tbXlPVXc\
    BIfIE3cCgYEAt/SXdek4PwHx/n46ncLpy/Y5z7giQMlZ5up3cBy12seYoWUjqY/tXL3tAq4R9eJe+3h3Q2G5sC7UYFbzjO59iohw1lKMTMK5lz\
    F1uaDZErn4qXnAiZiHnvdrY/wdubBbXJ4GtzSzfRNFfAPP4SZKI5xEjfzD1+UxuGut3oID/aECgYBuzWMxeNneVlwBfaRBqBE80ZwRi9abjz8Z\
    f92bZ7uejqRy0JOFj7/7JylCgUfWySKX3mn67IpYb8zPspan86+uHC5TxyeEF4hEXjUPnSfZ+IWjSYlSqzmm9vY+d9bG9EFYNyU3IFwM09RGWE\
    FoK6dbA/tFp8BIZ2MnVMqrVHuSkwKBgBY0kT/reh2o93Q3+o1mpOA5Bbt8R644YADO1sISxST2qQb6dXaXaBik2IJVTte2jq6eWQ8qMccBsCM8\
    +8NMWp0pYS2N41+0tcB5ePOCZhGrn0ed6c7yOZTH2w/DtDbhAfZJIRhmZTA47k9NCn/sJlDsIR5en6llAj53yRIt8ZthAoGATezYYDGivLHIbe\
    0aNvKbXkna4ZYOhXIlj73FBPihneLZ45gurTRJbN3tYqwcbf0YD27owzlur/Np19u9rte+XkLnwNzarHEVT3t7QjtojPNYXMQMqqEqpboj6oQB\
    1eqj0/YosNDmbErilLeLOu899CPpHaKO4d/55oU5KM28j1o=";
