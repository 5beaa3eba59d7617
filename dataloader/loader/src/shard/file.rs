//! One shard file: its rows and the places of their images.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{UInt8Type, UInt32Type, UInt64Type};
use arrow_array::{Array, RecordBatch};
use defusion_config::Degradation;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::page_index::RowGroupPageIndex;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

use super::blob::{Blob, BlobReader, Stored};
use super::format::{KEY_CODEC, KEY_TILE, KEY_VERSION, MAX_PIXELS, check_tile};
use super::grid::TileGrid;
use super::{FormatError, ParseTileCodecError, ShardError, TileCodec, VERSION};
use defusion_imaging::pixels::Pixels;

/// A shard's rows. The file itself is opened anew for every read: no descriptors are held, and a file that vanishes
/// is noticed.
#[derive(Debug)]
pub(crate) struct ShardFile {
    pub(crate) path: PathBuf,
    /// The file's name in messages.
    pub(crate) shown: String,
    pub(crate) tile: u32,
    pub(crate) codec: TileCodec,
    pub(crate) rows: Vec<Row>,
}

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) key: String,
    pub(crate) split: Arc<str>,
    pub(crate) degradations: Vec<Degradation>,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) hq: Blob,
    pub(crate) lq: Option<Blob>,
}

impl ShardFile {
    /// Reads the footer and the small columns, and checks that every blob is where the file says.
    pub(crate) fn open(file: &File, path: PathBuf, shown: &str) -> Result<Self, ShardError> {
        // The Parquet reader is given files of anyone's making.
        let read = std::panic::catch_unwind(|| Self::read(file, path, shown));
        read.unwrap_or_else(|_| Err(FormatError::damaged("its metadata is damaged (the Parquet reader panicked)")))
            .map_err(|source| ShardError::shard(shown, source))
    }

    fn read(file: &File, path: PathBuf, shown: &str) -> Result<Self, FormatError> {
        let size = file.metadata()?.len();
        let options = ArrowReaderOptions::new()
            .with_skip_arrow_metadata(true)
            .with_offset_index_policy(PageIndexPolicy::Required);
        let metadata = ArrowReaderMetadata::load(file, options)?;
        let (tile, codec) = parameters(metadata.metadata())?;
        let columns = Columns::of(metadata.metadata())?;
        let mut rows = Vec::new();
        for group in 0..metadata.metadata().num_row_groups() {
            let index = metadata.metadata().page_index_for_row_group(group);
            let first = rows.len();
            let input = file.try_clone()?;
            let mask =
                ProjectionMask::leaves(metadata.metadata().file_metadata().schema_descr(), columns.small.clone());
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(input, metadata.clone())
                .with_row_groups(vec![group])
                .with_projection(mask)
                .build()?;
            for batch in reader {
                push_rows(&batch?, &mut rows)?;
            }
            locate(&index, &columns, &mut rows[first..])?;
        }
        for row in &rows {
            check_row(row, tile, file, size).map_err(|e| FormatError::Damaged(format!("image {}: {e}", row.key)))?;
        }
        Ok(Self { path, shown: shown.to_owned(), tile, codec, rows })
    }

    /// Reads both images of a row, bit for bit.
    pub(crate) fn pixels(
        &self,
        file: &File,
        row: &Row,
        reader: &mut BlobReader,
    ) -> Result<(Pixels, Option<Pixels>), FormatError> {
        let mut read = |blob: Blob| reader.pixels(self.stored(file, row, blob));
        Ok((read(row.hq)?, row.lq.map(read).transpose()?))
    }

    pub(crate) fn stored<'a>(&self, file: &'a File, row: &Row, blob: Blob) -> Stored<'a> {
        Stored { file, blob, grid: TileGrid::new(row.width, row.height, self.tile), codec: self.codec }
    }
}

fn parameters(metadata: &ParquetMetaData) -> Result<(u32, TileCodec), FormatError> {
    let entries = metadata.file_metadata().key_value_metadata().map(Vec::as_slice).unwrap_or_default();
    let value = |key: &str| {
        let entry = entries.iter().find(|entry| entry.key == key).and_then(|entry| entry.value.as_deref());
        entry.ok_or_else(|| FormatError::Foreign(format!("is no shard of ours: its metadata has no {key}")))
    };
    let version = value(KEY_VERSION)?;
    if version != VERSION.to_string() {
        let message = format!("has layout version {version}; this program reads version {VERSION}");
        return Err(FormatError::Foreign(message));
    }
    let tile = value(KEY_TILE)?.parse().map_err(|_| FormatError::Foreign(format!("{KEY_TILE} is no number")))?;
    check_tile(tile)?;
    let codec = value(KEY_CODEC)?.parse().map_err(|e: ParseTileCodecError| FormatError::Foreign(e.to_string()))?;
    Ok((tile, codec))
}

/// Numbers of the leaf columns.
struct Columns {
    small: Vec<usize>,
    hq: usize,
    lq: usize,
}

impl Columns {
    fn of(metadata: &ParquetMetaData) -> Result<Self, FormatError> {
        let schema = metadata.file_metadata().schema_descr();
        let find = |name: &str| {
            let number = (0..schema.num_columns()).find(|n| schema.column(*n).path().parts()[0] == name);
            number.ok_or_else(|| FormatError::Foreign(format!("has no column {name}")))
        };
        let names = ["key", "split", "degradations", "width", "height", "hq_bits", "lq_bits", "hq_bytes", "lq_bytes"];
        let small = names.into_iter().map(find).collect::<Result<_, _>>()?;
        Ok(Self { small, hq: find("hq")?, lq: find("lq")? })
    }
}

fn push_rows(batch: &RecordBatch, rows: &mut Vec<Row>) -> Result<(), FormatError> {
    let missing = |name: &str| FormatError::Foreign(format!("has no column {name}"));
    let column = |name: &str| batch.column_by_name(name).ok_or_else(|| missing(name));
    let wrong = |name: &str| FormatError::Foreign(format!("column {name} has the wrong type"));
    let string = |name: &str| column(name)?.as_string_opt::<i32>().ok_or_else(|| wrong(name));
    let (keys, splits) = (string("key")?, string("split")?);
    let lists = column("degradations")?.as_list_opt::<i32>().ok_or_else(|| wrong("degradations"))?;
    let u32s = |name: &str| column(name)?.as_primitive_opt::<UInt32Type>().ok_or_else(|| wrong(name));
    let u8s = |name: &str| column(name)?.as_primitive_opt::<UInt8Type>().ok_or_else(|| wrong(name));
    let u64s = |name: &str| column(name)?.as_primitive_opt::<UInt64Type>().ok_or_else(|| wrong(name));
    let (widths, heights) = (u32s("width")?, u32s("height")?);
    let (hq_bits, lq_bits) = (u8s("hq_bits")?, u8s("lq_bits")?);
    let (hq_bytes, lq_bytes) = (u64s("hq_bytes")?, u64s("lq_bytes")?);
    for i in 0..batch.num_rows() {
        let list = lists.value(i);
        let names = list.as_string_opt::<i32>().ok_or_else(|| wrong("degradations"))?;
        let degradations = names
            .iter()
            .map(|name| {
                let parsed = name.unwrap_or_default().parse();
                parsed.map_err(|e| FormatError::Damaged(format!("image {}: {e}", keys.value(i))))
            })
            .collect::<Result<_, FormatError>>()?;
        let split = match rows.last() {
            Some(Row { split, .. }) if **split == *splits.value(i) => split.clone(),
            _ => splits.value(i).into(),
        };
        let has_lq = lq_bits.is_valid(i) && lq_bytes.is_valid(i);
        let blob = |len: u64, bits: u8| Blob { position: 0, len, bits };
        rows.push(Row {
            key: keys.value(i).to_owned(),
            split,
            degradations,
            width: widths.value(i),
            height: heights.value(i),
            hq: blob(hq_bytes.value(i), hq_bits.value(i)),
            lq: has_lq.then(|| blob(lq_bytes.value(i), lq_bits.value(i))),
        });
    }
    Ok(())
}

/// Finds the place of every blob: each is the end of a page of its own.
fn locate(index: &RowGroupPageIndex, columns: &Columns, rows: &mut [Row]) -> Result<(), FormatError> {
    for (name, column) in [("hq", columns.hq), ("lq", columns.lq)] {
        let pages = index
            .offset_index(column)
            .ok_or_else(|| FormatError::Damaged(format!("column {name} has no offset index")))?;
        let pages = pages.page_locations();
        if pages.len() != rows.len() {
            return Err(FormatError::Damaged(format!(
                "column {name} has {} pages for {} rows",
                pages.len(),
                rows.len()
            )));
        }
        for (n, (page, row)) in pages.iter().zip(rows.iter_mut()).enumerate() {
            let blob = if name == "hq" { Some(&mut row.hq) } else { row.lq.as_mut() };
            let Some(blob) = blob else { continue };
            let bytes = u64::try_from(page.compressed_page_size).ok();
            let end = u64::try_from(page.offset).ok().zip(bytes).and_then(|(at, bytes)| at.checked_add(bytes));
            let position = end.and_then(|end| end.checked_sub(blob.len));
            if page.first_row_index != n as i64 || bytes.is_none_or(|bytes| bytes < blob.len) {
                return Err(FormatError::Damaged(format!("column {name}: page {n} does not hold row {n}")));
            }
            blob.position = position
                .ok_or_else(|| FormatError::Damaged(format!("column {name}: page {n} lies outside the file")))?;
        }
    }
    Ok(())
}

fn check_row(row: &Row, tile: u32, file: &File, size: u64) -> Result<(), FormatError> {
    let pixels = u64::from(row.width) * u64::from(row.height);
    if pixels == 0 || pixels > MAX_PIXELS {
        return Err(FormatError::Damaged(format!("claims a size of {}x{}", row.width, row.height)));
    }
    let index = TileGrid::new(row.width, row.height, tile).index_bytes();
    for blob in std::iter::once(&row.hq).chain(&row.lq) {
        if !matches!(blob.bits, 8 | 16) {
            return Err(FormatError::Damaged(format!("claims {} bits a sample", blob.bits)));
        }
        let end = blob.position.checked_add(blob.len);
        if end.is_none_or(|end| end > size) || blob.len < index as u64 || blob.position < 4 {
            return Err(FormatError::damaged("its pixels lie outside the file"));
        }
        // Parquet's length of the value, then the index, whose first entry is its own length.
        let mut head = [0; 8];
        file.read_exact_at(&mut head, blob.position - 4)?;
        let (len, first) = head.split_at(4);
        if len != (blob.len as u32).to_le_bytes() || first != (index as u32).to_le_bytes() {
            return Err(FormatError::damaged("its pixels are not where the file's index says"));
        }
    }
    Ok(())
}
