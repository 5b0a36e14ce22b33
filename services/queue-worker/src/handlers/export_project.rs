//! `export_project`: the cache entries of a project become one `tar.zst` in its cache, with a manifest.
//!
//! Five steps, each seen in the task's progress. Memory stays at one entry and one part, whatever the project holds: the
//! tar and the archive lie in temporary files without a name, so that a killed worker leaves nothing behind. An attempt
//! that comes after a killed one starts anew and, as long as the entries are the same, writes the same bytes.

use crate::archive::{
    FileRecord, Manifest, Packer, PartRecord, SkipReason, Skipped, TarWriter, hex, is_portable,
};
use bytes::Bytes;
use cache::{Cache, Conditions, ContentType, Draft, Listed, Read as CacheRead, Tags};
use domain::{EntryName, ProjectId, StepName, StepState};
use queue::{Context, Done, Failure, Handler, PlannedStep, Update};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The handler.
pub(crate) struct ExportProject {
    cache: Cache,
    spool_dir: PathBuf,
}

/// The payload of an export.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportRequest {
    /// Whose entries.
    project: ProjectId,
    /// Only entries whose names begin so.
    #[serde(default)]
    prefix: String,
    /// The archive lies in `<archive>/part-0000`, … and `<archive>/manifest.json` of the same project.
    archive: EntryName,
    /// zstd's level, 1 to 19; 3 by default.
    level: Option<i32>,
    /// How long the archive lives; an hour by default.
    ttl_ms: Option<u64>,
    /// Waits so long between entries, to be seen at work; at most 10,000.
    #[serde(default)]
    throttle_ms: u64,
}

/// The result of an export.
#[derive(Debug, Serialize)]
struct ExportResult<'a> {
    manifest_sha256: &'a str,
    archive_sha256: &'a str,
    parts: usize,
    files: usize,
    /// Of the archive.
    bytes: u64,
    /// How many entries were left out; the manifest names all.
    skipped_total: usize,
    /// The first hundred of them.
    skipped: &'a [Skipped],
}

impl ExportProject {
    pub(crate) fn new(cache: Cache, spool_dir: PathBuf) -> Self {
        Self { cache, spool_dir }
    }
}

impl Handler for ExportProject {
    type Payload = ExportRequest;

    async fn handle(&self, request: ExportRequest, context: Context) -> Result<Done, Failure> {
        request.check(self.cache.limits().max_ttl)?;
        context.plan(STEPS.iter().map(|&(step, weight)| planned(step, weight)).collect()).await;
        let export =
            Export { cache: &self.cache, spool_dir: &self.spool_dir, request: &request, context: &context };
        let listing = export.list().await?;
        let tar = export.read(listing.entries).await?;
        let archive = export.pack(tar.spool).await?;
        let uploaded = export.upload(archive, tar.files, tar.skipped).await?;
        export.verify(&uploaded).await?;
        export.delete(listing.old_parts.into_iter().skip(uploaded.manifest.parts.len())).await?;
        Ok(Done::Result(uploaded.result().into()))
    }
}

impl ExportRequest {
    fn check(&self, longest_ttl: Duration) -> Result<(), Failure> {
        let wrong = |field: &str, rule: String| Err(Failure::die(format!("{field}: {rule}")));
        if !self.level.is_none_or(|level| (1..=19).contains(&level)) {
            return wrong("level", "1 to 19".to_owned());
        }
        if self.throttle_ms > LONGEST_THROTTLE_MS {
            return wrong("throttle_ms", format!("at most {LONGEST_THROTTLE_MS}"));
        }
        if self.ttl().is_zero() || self.ttl() > longest_ttl {
            return wrong("ttl_ms", format!("1 to {}", longest_ttl.as_millis()));
        }
        if self.below_archive(MANIFEST).is_err() {
            return wrong("archive", format!("at most {} bytes", 256 - MANIFEST.len() - 1));
        }
        Ok(())
    }

    fn ttl(&self) -> Duration {
        self.ttl_ms.map_or(USUAL_TTL, Duration::from_millis)
    }

    fn below_archive(&self, name: &str) -> Result<EntryName, Failure> {
        Ok(format!("{}/{name}", self.archive).parse::<EntryName>()?)
    }

    fn part(&self, index: usize) -> Result<EntryName, Failure> {
        self.below_archive(&format!("{PART}{index:04}"))
    }
}

/// One run of the handler.
struct Export<'a> {
    cache: &'a Cache,
    spool_dir: &'a Path,
    request: &'a ExportRequest,
    context: &'a Context,
}

/// What the first step finds.
struct Listing {
    /// Name and size, sorted by name.
    entries: BTreeMap<EntryName, u64>,
    /// Parts of an archive that was here under the same name, in order.
    old_parts: Vec<EntryName>,
}

/// What the second step makes.
struct Tar {
    spool: Spool,
    files: Vec<FileRecord>,
    skipped: Vec<Skipped>,
}

/// A temporary file, standing at its beginning.
struct Spool {
    file: File,
    size: u64,
}

/// What the fourth step makes.
struct Uploaded {
    manifest: Manifest,
    manifest_sha256: String,
}

impl Export<'_> {
    /// Step `list`: a round trip for each thousand entries.
    async fn list(&self) -> Result<Listing, Failure> {
        let step = Step::begin(self.context, LIST, 1).await;
        let mut listing = Listing { entries: BTreeMap::new(), old_parts: Vec::new() };
        let mut manifest_bytes = 0;
        let mut after = None;
        loop {
            self.may_go_on()?;
            let page = self.cache.list(&self.request.project, after, PAGE).await?;
            for Listed { name, head, .. } in page.entries {
                let own = name.as_str().strip_prefix(self.request.archive.as_str());
                let own = own.and_then(|rest| rest.strip_prefix('/'));
                if own.is_some_and(|own| own.starts_with(PART)) {
                    listing.old_parts.push(name);
                } else if own != Some(MANIFEST)
                    && name.as_str().starts_with(&self.request.prefix)
                    && !head.tags().any(|tag| tag == ARCHIVE_TAG)
                {
                    manifest_bytes += name.as_str().len() + MANIFEST_BYTES_A_FILE;
                    listing.entries.insert(name, head.size_bytes() as u64);
                }
            }
            if manifest_bytes > self.cache.limits().max_entry_bytes {
                let count = listing.entries.len();
                return Err(Failure::die(format!("{count} entries and more: no manifest could name them")));
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        listing.old_parts.sort();
        listing.old_parts.dedup();
        step.end().await;
        Ok(listing)
    }

    /// Step `read`: entry by entry into a tar. A round trip an entry.
    async fn read(&self, entries: BTreeMap<EntryName, u64>) -> Result<Tar, Failure> {
        let mut step = Step::begin(self.context, READ, entries.values().sum()).await;
        let mut tar = TarWriter::new(BufWriter::with_capacity(BUFFER, self.spool().await?));
        let mut skipped = Vec::new();
        for (name, size) in entries {
            self.may_go_on()?;
            if is_portable(&name) {
                match self.cache.read(&self.request.project, &name, None).await? {
                    CacheRead::Hit(hit) => {
                        tar = blocking(move || tar.append(&name, &hit.payload).map(|()| tar)).await?;
                    }
                    CacheRead::Miss(_) => skipped.push(Skipped { name, reason: SkipReason::Gone }),
                }
            } else {
                skipped.push(Skipped { name, reason: SkipReason::UnportableName });
            }
            step.advance(size).await;
            self.throttle().await?;
        }
        let (spool, files) = blocking(move || {
            let (buffer, files) = tar.finish()?;
            Ok((Spool::rewound(buffer)?, files))
        })
        .await?;
        step.end().await;
        Ok(Tar { spool, files, skipped })
    }

    /// Step `pack`: the tar becomes a `tar.zst`. No round trip.
    async fn pack(&self, tar: Spool) -> Result<Spool, Failure> {
        let mut step = Step::begin(self.context, PACK, tar.size).await;
        let target = BufWriter::with_capacity(BUFFER, self.spool().await?);
        let mut packer = Packer::new(tar.file, target, self.request.level.unwrap_or(USUAL_LEVEL))?;
        loop {
            self.may_go_on()?;
            let packed;
            (packer, packed) =
                blocking(move || packer.pack(PART_BYTES).map(|packed| (packer, packed))).await?;
            if packed == 0 {
                break;
            }
            step.advance(packed).await;
        }
        let archive = blocking(move || Spool::rewound(packer.finish()?)).await?;
        step.end().await;
        Ok(archive)
    }

    /// Step `upload`: part by part, then the manifest. Two round trips each.
    async fn upload(
        &self,
        archive: Spool,
        files: Vec<FileRecord>,
        skipped: Vec<Skipped>,
    ) -> Result<Uploaded, Failure> {
        let mut step = Step::begin(self.context, UPLOAD, archive.size).await;
        let mut whole = Sha256::new();
        let mut parts = Vec::new();
        let mut file = archive.file;
        loop {
            self.may_go_on()?;
            let bytes;
            (file, bytes) = blocking(move || read_part(&mut file).map(|bytes| (file, bytes))).await?;
            if bytes.is_empty() {
                break;
            }
            whole.update(&bytes);
            let (name, size) = (self.request.part(parts.len())?, bytes.len() as u64);
            parts.push(PartRecord { name: name.clone(), size, sha256: hex(&Sha256::digest(&bytes)) });
            self.put(&name, ContentType::octets(), bytes).await?;
            step.advance(size).await;
        }
        let manifest = Manifest {
            version: 1,
            archive: self.request.archive.to_string(),
            archive_sha256: hex(&whole.finalize()),
            parts,
            files,
            skipped,
        };
        let json = Bytes::from(serde_json::to_vec(&manifest)?);
        let manifest_sha256 = hex(&Sha256::digest(&json));
        let json_type = ContentType::try_from("application/json".to_owned())?;
        self.put(&self.request.below_archive(MANIFEST)?, json_type, json).await?;
        step.end().await;
        Ok(Uploaded { manifest, manifest_sha256 })
    }

    /// Step `verify`: everything is read back and compared. A round trip a part.
    async fn verify(&self, uploaded: &Uploaded) -> Result<(), Failure> {
        let parts = &uploaded.manifest.parts;
        let mut step = Step::begin(self.context, VERIFY, parts.iter().map(|part| part.size).sum()).await;
        for part in parts {
            self.may_go_on()?;
            self.compare(&part.name, &part.sha256).await?;
            step.advance(part.size).await;
        }
        self.compare(&self.request.below_archive(MANIFEST)?, &uploaded.manifest_sha256).await?;
        step.end().await;
        Ok(())
    }

    async fn compare(&self, name: &EntryName, sha256: &str) -> Result<(), Failure> {
        match self.cache.read(&self.request.project, name, None).await? {
            CacheRead::Hit(hit) if hex(&Sha256::digest(&hit.payload)) == sha256 => Ok(()),
            CacheRead::Hit(_) => Err(Failure::retry(format!("{name} is not what was written"))),
            CacheRead::Miss(_) => {
                Err(Failure::retry(format!("{name} was evicted or invalidated right after it was written")))
            }
        }
    }

    async fn put(&self, name: &EntryName, content_type: ContentType, payload: Bytes) -> Result<(), Failure> {
        let tags = Tags::try_from(vec![ARCHIVE_TAG.parse()?])?;
        let draft = Draft { content_type, tags, ttl: self.request.ttl(), payload };
        self.cache.put(&self.request.project, name, draft, &Conditions::default()).await?;
        Ok(())
    }

    /// What an older and longer archive of the same name left behind.
    async fn delete(&self, names: impl Iterator<Item = EntryName>) -> Result<(), Failure> {
        for name in names {
            self.cache.delete(&self.request.project, &name, &Conditions::default()).await?;
        }
        Ok(())
    }

    async fn spool(&self) -> Result<File, Failure> {
        let folder = self.spool_dir.to_owned();
        blocking(move || tempfile::tempfile_in(folder)).await
    }

    async fn throttle(&self) -> Result<(), Failure> {
        if self.request.throttle_ms > 0 {
            tokio::select! { // Both may be dropped.
                () = self.context.cancelled().cancelled() => {}
                () = tokio::time::sleep(Duration::from_millis(self.request.throttle_ms)) => {}
            }
        }
        Ok(())
    }

    fn may_go_on(&self) -> Result<(), Failure> {
        if self.context.cancelled().is_cancelled() {
            return Err(Failure::retry("stopped in the middle"));
        }
        Ok(())
    }
}

impl Spool {
    fn rewound(buffer: BufWriter<File>) -> io::Result<Self> {
        let mut file = buffer.into_inner()?;
        let size = file.stream_position()?;
        file.rewind()?;
        Ok(Self { file, size })
    }
}

impl Uploaded {
    fn result(&self) -> Vec<u8> {
        let Manifest { archive_sha256, parts, files, skipped, .. } = &self.manifest;
        let result = ExportResult {
            manifest_sha256: &self.manifest_sha256,
            archive_sha256,
            parts: parts.len(),
            files: files.len(),
            bytes: parts.iter().map(|part| part.size).sum(),
            skipped_total: skipped.len(),
            skipped: &skipped[..skipped.len().min(SKIPPED_IN_RESULT)],
        };
        serde_json::to_vec(&result).expect("names and numbers are always JSON")
    }
}

/// A step under way. Reports each whole percent once: at most a hundred round trips a step.
struct Step<'a> {
    context: &'a Context,
    name: StepName,
    done: u64,
    total: u64,
    percent: u64,
}

impl<'a> Step<'a> {
    async fn begin(context: &'a Context, name: &str, total: u64) -> Self {
        let step = Self { context, name: step_name(name), done: 0, total, percent: 0 };
        step.report(StepState::Running, None).await;
        step
    }

    async fn advance(&mut self, by: u64) {
        self.done += by;
        let percent = (self.done * 100).checked_div(self.total).unwrap_or(0).min(100);
        if percent > self.percent {
            self.percent = percent;
            self.report(StepState::Running, Some(percent)).await;
        }
    }

    async fn end(self) {
        self.report(StepState::Completed, None).await;
    }

    async fn report(&self, state: StepState, percent: Option<u64>) {
        let step = Some(self.name.clone());
        let percent = percent.map(|percent| percent as f64);
        self.context.progress(Update { step, state: Some(state), percent, ..Update::default() }).await;
    }
}

fn planned(step: &str, weight: u32) -> PlannedStep {
    PlannedStep { name: step_name(step), weight, total: None }
}

fn step_name(name: &str) -> StepName {
    name.parse().expect("its letters are allowed")
}

fn read_part(file: &mut File) -> io::Result<Bytes> {
    let mut part = Vec::new();
    file.take(PART_BYTES).read_to_end(&mut part)?;
    Ok(part.into())
}

/// Files and compression would hold up every other task of this thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    Ok(tokio::task::spawn_blocking(work).await??)
}

const LIST: &str = "list";
const READ: &str = "read";
const PACK: &str = "pack";
const UPLOAD: &str = "upload";
const VERIFY: &str = "verify";
/// The steps with their shares of the whole.
const STEPS: [(&str, u32); 5] = [(LIST, 5), (READ, 35), (PACK, 25), (UPLOAD, 20), (VERIFY, 15)];

const MANIFEST: &str = "manifest.json";
const PART: &str = "part-";
/// On everything that an export writes, so that no later one takes it in.
const ARCHIVE_TAG: &str = "sluice:archive";
const PART_BYTES: u64 = 4 * 1024 * 1024;
const USUAL_LEVEL: i32 = 3;
const USUAL_TTL: Duration = Duration::from_secs(3600);
const LONGEST_THROTTLE_MS: u64 = 10_000;
const PAGE: usize = 1000;
const BUFFER: usize = 256 * 1024;
/// What a manifest says of a file besides its name: keys, size, sum.
const MANIFEST_BYTES_A_FILE: usize = 130;
const SKIPPED_IN_RESULT: usize = 100;
