//! One shard file: its rows, and where their pictures lie.

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
use super::grid::Grid;
use super::writer::{KEY_CODEC, KEY_TILE, KEY_VERSION};
use super::{MAX_PIXELS, ShardError, TileCodec, VERSION};
use crate::pixels::Pixels;

/// A shard's rows. The file itself is opened anew for every read: no descriptors are held, and a file that vanishes
/// is noticed.
#[derive(Debug)]
pub(crate) struct ShardFile {
    pub(crate) path: PathBuf,
    /// For messages.
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

pub(crate) fn check_tile(tile: u32) -> Result<(), String> {
    match (8..=1024).contains(&tile) {
        true => Ok(()),
        false => Err(format!("a tile side of {tile} pixels is not between 8 and 1024")),
    }
}

impl ShardFile {
    /// Reads the footer and the small columns, and checks that every blob is where the file says.
    pub(crate) fn open(file: &File, path: PathBuf, shown: &str) -> Result<Self, ShardError> {
        // The Parquet reader is given files of anyone's making.
        let read = std::panic::catch_unwind(|| Self::read(file, path, shown));
        read.unwrap_or_else(|_| Err("its metadata is damaged (the Parquet reader panicked)".into()))
            .map_err(|message| ShardError::shard(shown, message))
    }

    fn read(file: &File, path: PathBuf, shown: &str) -> Result<Self, String> {
        let size = file.metadata().map_err(|e| e.to_string())?.len();
        let options = ArrowReaderOptions::new()
            .with_skip_arrow_metadata(true)
            .with_offset_index_policy(PageIndexPolicy::Required);
        let metadata = ArrowReaderMetadata::load(file, options).map_err(|e| e.to_string())?;
        let (tile, codec) = parameters(metadata.metadata())?;
        let columns = Columns::of(metadata.metadata())?;
        let mut rows = Vec::new();
        for group in 0..metadata.metadata().num_row_groups() {
            let index = metadata.metadata().page_index_for_row_group(group);
            let first = rows.len();
            let input = file.try_clone().map_err(|e| e.to_string())?;
            let mask =
                ProjectionMask::leaves(metadata.metadata().file_metadata().schema_descr(), columns.small.clone());
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(input, metadata.clone())
                .with_row_groups(vec![group])
                .with_projection(mask)
                .build()
                .map_err(|e| e.to_string())?;
            for batch in reader {
                push_rows(&batch.map_err(|e| e.to_string())?, &mut rows)?;
            }
            locate(&index, &columns, &mut rows[first..])?;
        }
        for row in &rows {
            check_row(row, tile, file, size).map_err(|message| format!("picture {}: {message}", row.key))?;
        }
        Ok(Self { path, shown: shown.to_owned(), tile, codec, rows })
    }

    /// Both pictures of a row, bit for bit.
    pub(crate) fn pixels(
        &self,
        file: &File,
        row: &Row,
        reader: &mut BlobReader,
    ) -> Result<(Pixels, Option<Pixels>), String> {
        let mut read = |blob: Blob| reader.pixels(self.stored(file, row, blob));
        Ok((read(row.hq)?, row.lq.map(read).transpose()?))
    }

    pub(crate) fn stored<'a>(&self, file: &'a File, row: &Row, blob: Blob) -> Stored<'a> {
        Stored { file, blob, grid: Grid::new(row.width, row.height, self.tile), codec: self.codec }
    }
}

fn parameters(metadata: &ParquetMetaData) -> Result<(u32, TileCodec), String> {
    let entries = metadata.file_metadata().key_value_metadata().map(Vec::as_slice).unwrap_or_default();
    let value = |key: &str| {
        let entry = entries.iter().find(|entry| entry.key == key).and_then(|entry| entry.value.as_deref());
        entry.ok_or_else(|| format!("is no shard of ours: its metadata has no {key}"))
    };
    let version = value(KEY_VERSION)?;
    if version != VERSION.to_string() {
        return Err(format!("has layout version {version}; this program reads version {VERSION}"));
    }
    let tile = value(KEY_TILE)?.parse().map_err(|_| format!("{KEY_TILE} is no number"))?;
    check_tile(tile)?;
    Ok((tile, value(KEY_CODEC)?.parse()?))
}

/// Numbers of the leaf columns.
struct Columns {
    small: Vec<usize>,
    hq: usize,
    lq: usize,
}

impl Columns {
    fn of(metadata: &ParquetMetaData) -> Result<Self, String> {
        let schema = metadata.file_metadata().schema_descr();
        let find = |name: &str| {
            let number = (0..schema.num_columns()).find(|n| schema.column(*n).path().parts()[0] == name);
            number.ok_or_else(|| format!("has no column {name}"))
        };
        let names = ["key", "split", "degradations", "width", "height", "hq_bits", "lq_bits", "hq_bytes", "lq_bytes"];
        let small = names.into_iter().map(find).collect::<Result<_, _>>()?;
        Ok(Self { small, hq: find("hq")?, lq: find("lq")? })
    }
}

fn push_rows(batch: &RecordBatch, rows: &mut Vec<Row>) -> Result<(), String> {
    let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("has no column {name}"));
    let wrong = |name: &str| format!("column {name} has the wrong type");
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
            .map(|name| name.unwrap_or_default().parse().map_err(|e| format!("picture {}: {e}", keys.value(i))))
            .collect::<Result<_, String>>()?;
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

/// Every blob is the end of a page of its own.
fn locate(index: &RowGroupPageIndex, columns: &Columns, rows: &mut [Row]) -> Result<(), String> {
    for (name, column) in [("hq", columns.hq), ("lq", columns.lq)] {
        let pages = index.offset_index(column).ok_or_else(|| format!("column {name} has no offset index"))?;
        let pages = pages.page_locations();
        if pages.len() != rows.len() {
            return Err(format!("column {name} has {} pages for {} rows", pages.len(), rows.len()));
        }
        for (n, (page, row)) in pages.iter().zip(rows.iter_mut()).enumerate() {
            let blob = if name == "hq" { Some(&mut row.hq) } else { row.lq.as_mut() };
            let Some(blob) = blob else { continue };
            let bytes = u64::try_from(page.compressed_page_size).ok();
            let end = u64::try_from(page.offset).ok().zip(bytes).and_then(|(at, bytes)| at.checked_add(bytes));
            let position = end.and_then(|end| end.checked_sub(blob.len));
            if page.first_row_index != n as i64 || bytes.is_none_or(|bytes| bytes < blob.len) {
                return Err(format!("column {name}: page {n} does not hold row {n}"));
            }
            blob.position = position.ok_or_else(|| format!("column {name}: page {n} lies outside the file"))?;
        }
    }
    Ok(())
}

fn check_row(row: &Row, tile: u32, file: &File, size: u64) -> Result<(), String> {
    let pixels = u64::from(row.width) * u64::from(row.height);
    if pixels == 0 || pixels > MAX_PIXELS {
        return Err(format!("claims a size of {}x{}", row.width, row.height));
    }
    let index = Grid::new(row.width, row.height, tile).index_bytes();
    for blob in std::iter::once(&row.hq).chain(&row.lq) {
        if !matches!(blob.bits, 8 | 16) {
            return Err(format!("claims {} bits a sample", blob.bits));
        }
        let end = blob.position.checked_add(blob.len);
        if end.is_none_or(|end| end > size) || blob.len < index as u64 || blob.position < 4 {
            return Err("its pixels lie outside the file".into());
        }
        // Parquet's length of the value, then the index, whose first entry is its own length.
        let mut head = [0; 8];
        file.read_exact_at(&mut head, blob.position - 4).map_err(|e| e.to_string())?;
        let (len, first) = head.split_at(4);
        if len != (blob.len as u32).to_le_bytes() || first != (index as u32).to_le_bytes() {
            return Err("its pixels are not where the file's index says".into());
        }
    }
    Ok(())
}
