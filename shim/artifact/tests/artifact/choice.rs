//! Which manifest of an index is chosen.

use std::collections::BTreeSet;

use skiff_artifact::{Blobs, Choice, ChoiceError, Descriptor, Index, Platform, Wanted, media};

use crate::support::Memory;

/// A node or layout with some blobs.
#[derive(Default)]
struct Content(Memory);

impl Content {
    fn index(&mut self, manifests: &[Descriptor]) -> Descriptor {
        let index = Index {
            schema_version: 2,
            media_type: None,
            manifests: manifests.to_vec(),
        };
        let bytes = serde_json::to_vec(&index).unwrap();
        let descriptor = Descriptor::of(media::INDEX, &bytes);
        self.0.0.insert(descriptor.digest, bytes);
        descriptor
    }

    fn manifest(
        &self,
        image: &Descriptor,
        wanted: Option<&str>,
    ) -> Result<Descriptor, ChoiceError> {
        let wanted = wanted.map(|text| text.parse::<Wanted>().unwrap());
        let choice = Choice {
            blobs: &self.0 as &dyn Blobs,
            has: &|_| true,
            wanted: wanted.as_ref(),
        };
        choice.manifest(std::slice::from_ref(image))
    }
}

/// A manifest for a platform, which is written as `os/architecture/variant`.
fn image(platform: &str) -> Descriptor {
    let mut descriptor = Descriptor::of(media::MANIFEST, platform.as_bytes());
    let mut words = platform.split('/').map(str::to_owned);
    descriptor.platform = Some(Platform {
        os: words.next().unwrap(),
        architecture: words.next().unwrap(),
        variant: words.next(),
    });
    descriptor
}

fn here(variant: &str) -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("linux/{architecture}{variant}")
}

/// The manifest chosen from these, by platform.
fn chosen(platforms: &[&str], wanted: Option<&str>) -> Result<String, ChoiceError> {
    let mut content = Content::default();
    let images: Vec<_> = platforms.iter().map(|text| image(text)).collect();
    let index = content.index(&images);
    let chosen = content.manifest(&index, wanted)?;
    let place = images
        .iter()
        .position(|image| image.digest == chosen.digest);
    Ok(platforms[place.unwrap()].to_owned())
}

#[test]
fn a_manifest_is_its_own_choice() {
    let only = Descriptor::of(media::MANIFEST, b"{}");
    assert_eq!(Content::default().manifest(&only, None).unwrap(), only);
    assert_eq!(chosen(&["plan9/mips"], None).unwrap(), "plan9/mips");
}

#[test]
fn webassembly_is_before_linux_and_attestations_are_never_meant() {
    let (here, attestation) = (&here(""), "unknown/unknown");
    for wasm in ["wasi/wasm", "wasip1/wasm", "Wasip2/wasm"] {
        assert_eq!(chosen(&[attestation, here, wasm], None).unwrap(), wasm);
    }
    assert_eq!(
        chosen(&[attestation, "linux/s390x", here], None).unwrap(),
        *here
    );
    let error = chosen(&[attestation], None).unwrap_err();
    assert!(matches!(error, ChoiceError::Nothing), "{error}");
    let mut marked = image("wasi/wasm");
    let kind = "vnd.docker.reference.type".to_owned();
    marked
        .annotations
        .insert(kind, "attestation-manifest".to_owned());
    let mut content = Content::default();
    let index = content.index(&[marked, image(here)]);
    assert_eq!(content.manifest(&index, None).unwrap(), image(here));
}

#[test]
fn several_that_fit_are_named_and_the_platform_chooses() {
    let two = ["wasip1/wasm", "wasip2/wasm"];
    let error = chosen(&two, None).unwrap_err().to_string();
    for part in ["wasip1/wasm", "wasip2/wasm", "--platform"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(chosen(&two, Some("wasip2/wasm")).unwrap(), two[1]);
    let error = chosen(&two, Some("linux/amd64")).unwrap_err().to_string();
    assert!(error.contains("no manifest for linux/amd64"), "{error}");
    let error = chosen(&["linux/s390x", "linux/mips"], None).unwrap_err();
    assert!(matches!(error, ChoiceError::NoneFits { .. }), "{error}");
}

#[test]
fn a_processor_without_a_variant_is_before_those_with_one() {
    let (plain, newer, newest) = (&here(""), &here("/x3"), &here("/x4"));
    assert_eq!(chosen(&[newer, plain, newest], None).unwrap(), *plain);
    let error = chosen(&[newer, newest], None).unwrap_err().to_string();
    assert!(
        error.contains(newer.as_str()) && error.contains("--platform"),
        "{error}"
    );
    assert_eq!(chosen(&[plain, newer], Some(newer)).unwrap(), *newer);
    let least = ["linux/arm64/v8", "linux/arm64/v9"];
    assert_eq!(chosen(&least, Some("linux/arm64")).unwrap(), least[0]);
}

#[test]
fn what_was_not_pulled_is_no_choice() {
    let mut content = Content::default();
    let there = image("linux/riscv64");
    let index = content.index(&[image("wasi/wasm"), there.clone()]);
    let has = BTreeSet::from([there.digest, index.digest]);
    let choice = Choice {
        blobs: &content.0,
        has: &|descriptor| has.contains(&descriptor.digest),
        wanted: None,
    };
    assert_eq!(choice.manifest(&[index]).unwrap(), there);
}

#[test]
fn indexes_within_indexes_end() {
    let mut content = Content::default();
    let mut deep = image("wasi/wasm");
    for _ in 0..=4 {
        deep = content.index(&[deep]);
    }
    let error = content.manifest(&deep, None).unwrap_err();
    assert!(matches!(error, ChoiceError::Depth { .. }), "{error}");
}

/// Reading all of it and listing it in errors took seconds and megabytes.
#[test]
fn what_an_index_lists_is_bounded_and_so_is_what_is_said_of_it() {
    let mut content = Content::default();
    let images = |of: usize, count: usize| -> Vec<_> {
        (0..count)
            .map(|number| image(&format!("linux/{of}x{number}{}", "y".repeat(1000))))
            .collect()
    };
    let flat = content.index(&images(0, 900));
    let error = content.manifest(&flat, None).unwrap_err();
    assert!(matches!(error, ChoiceError::NoneFits { .. }), "{error}");
    assert!(
        error.to_string().len() < 5000,
        "{}",
        error.to_string().len()
    );
    let inner: Vec<_> = (0..20).map(|of| content.index(&images(of, 500))).collect();
    let nested = content.index(&inner);
    let error = content.manifest(&nested, None).unwrap_err();
    assert!(matches!(error, ChoiceError::Size { .. }), "{error}");
    // An index that is listed repeatedly is read once.
    let once = content.index(&[image("wasi/wasm")]);
    let again = content.index(&vec![once; 500]);
    assert_eq!(content.manifest(&again, None).unwrap(), image("wasi/wasm"));
}

#[test]
fn what_is_no_platform_is_refused() {
    for text in ["", "wasm", "/", "linux/", "a/b/c/d", "a/b/"] {
        assert!(text.parse::<Wanted>().is_err(), "{text}");
    }
    assert_eq!("a/b/c".parse::<Wanted>().unwrap().to_string(), "a/b/c");
}

#[test]
fn an_index_that_is_no_json_is_named() {
    let mut content = Content::default();
    let index = Descriptor::of(media::INDEX, b"<html>");
    content.0.0.insert(index.digest, b"<html>".to_vec());
    let error = content.manifest(&index, None).unwrap_err().to_string();
    assert!(error.contains(&index.digest.to_string()), "{error}");
}
