//! Writing one shard.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray, UInt8Array, UInt32Array, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use defusion_config::Degradation;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};

use super::format::{KEY_CODEC, KEY_TILE, KEY_VERSION, MAX_PIXELS, check_tile};
use super::{FormatError, TileCodec, VERSION, blob};
use defusion_imaging::pixels::{Pixels, Samples};

/// Rows are flushed to a row group when their blobs reach this size.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// What a row of a shard says of its images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowMeta {
    /// Path of the degraded file in the source.
    pub key: String,
    /// The split; the same in all rows of a shard.
    pub split: String,
    /// Categories of the degraded image, in order.
    pub degradations: Vec<Degradation>,
}

/// A row ready to be written: its images are packed. Made on any thread.
#[derive(Clone, Debug)]
pub struct EncodedRow {
    meta: RowMeta,
    width: u32,
    height: u32,
    hq: (u8, Vec<u8>),
    lq: Option<(u8, Vec<u8>)>,
}

impl EncodedRow {
    /// Packs a clean image and, if there is one, its degraded image.
    ///
    /// # Errors
    /// [`FormatError::Sizes`], [`FormatError::TooLarge`], [`FormatError::Tile`], [`FormatError::TooLong`].
    pub fn new(
        meta: RowMeta,
        hq: &Pixels,
        lq: Option<&Pixels>,
        tile: u32,
        codec: TileCodec,
    ) -> Result<Self, FormatError> {
        let (width, height) = (hq.width(), hq.height());
        if let Some(lq) = lq
            && (lq.width(), lq.height()) != (width, height)
        {
            return Err(FormatError::Sizes { degraded: [lq.width(), lq.height()], clean: [width, height] });
        }
        if u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(FormatError::TooLarge { width, height, limit: MAX_PIXELS });
        }
        check_tile(tile)?;
        let pack = |pixels: &Pixels| {
            let bits = if matches!(pixels.samples(), Samples::U8(_)) { 8 } else { 16 };
            Ok::<_, FormatError>((bits, blob::encode(pixels, tile, codec)?))
        };
        Ok(Self { meta, width, height, hq: pack(hq)?, lq: lq.map(pack).transpose()? })
    }

    /// Bytes of its packed images.
    pub fn bytes(&self) -> usize {
        self.hq.1.len() + self.lq.as_ref().map_or(0, |(_, blob)| blob.len())
    }
}

/// A shard, whole.
#[derive(Clone, Debug)]
pub struct FinishedShard {
    /// The Parquet file.
    pub bytes: Bytes,
    /// Its rows.
    pub rows: u64,
    /// Its sha256, hex.
    pub sha256: String,
}

/// Collects rows into the Parquet file of one shard, in memory.
pub struct ShardWriter {
    writer: ArrowWriter<Vec<u8>>,
    schema: SchemaRef,
    rows: u64,
}

fn schema() -> SchemaRef {
    let strings = DataType::List(Arc::new(Field::new("item", DataType::Utf8, false)));
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("split", DataType::Utf8, false),
        Field::new("degradations", strings, false),
        Field::new("width", DataType::UInt32, false),
        Field::new("height", DataType::UInt32, false),
        Field::new("hq_bits", DataType::UInt8, false),
        Field::new("lq_bits", DataType::UInt8, true),
        Field::new("hq_bytes", DataType::UInt64, false),
        Field::new("lq_bytes", DataType::UInt64, true),
        Field::new("hq", DataType::Binary, false),
        Field::new("lq", DataType::Binary, true),
    ]))
}

fn properties(tile: u32, codec: TileCodec) -> WriterProperties {
    let entry = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("defusion ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(vec![
            entry(KEY_VERSION, VERSION.to_string()),
            entry(KEY_TILE, tile.to_string()),
            entry(KEY_CODEC, codec.name().to_owned()),
        ]))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_compression(Compression::UNCOMPRESSED)
        // The writer closes a page only after a batch of values.
        .set_write_batch_size(1);
    for column in ["hq", "lq"] {
        let column = ColumnPath::from(column);
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column.clone(), Encoding::PLAIN)
            .set_column_data_page_row_count_limit(column, 1);
    }
    properties.build()
}

impl ShardWriter {
    /// Begins a shard. All rows must have been packed with the same `tile` and `codec`.
    ///
    /// # Errors
    /// [`FormatError::Parquet`].
    pub fn new(tile: u32, codec: TileCodec) -> Result<Self, FormatError> {
        let schema = schema();
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties(tile, codec)))?;
        Ok(Self { writer, schema, rows: 0 })
    }

    /// Appends a row.
    ///
    /// # Errors
    /// [`FormatError::Parquet`].
    pub fn push(&mut self, row: &EncodedRow) -> Result<(), FormatError> {
        let names = StringBuilder::new();
        let mut degradations = ListBuilder::new(names).with_field(Field::new("item", DataType::Utf8, false));
        for degradation in &row.meta.degradations {
            degradations.values().append_value(degradation.name());
        }
        degradations.append(true);
        let lq = row.lq.as_ref();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![row.meta.key.as_str()])),
            Arc::new(StringArray::from(vec![row.meta.split.as_str()])),
            Arc::new(degradations.finish()),
            Arc::new(UInt32Array::from(vec![row.width])),
            Arc::new(UInt32Array::from(vec![row.height])),
            Arc::new(UInt8Array::from(vec![row.hq.0])),
            Arc::new(UInt8Array::from(vec![lq.map(|(bits, _)| *bits)])),
            Arc::new(UInt64Array::from(vec![row.hq.1.len() as u64])),
            Arc::new(UInt64Array::from(vec![lq.map(|(_, blob)| blob.len() as u64)])),
            Arc::new(BinaryArray::from_vec(vec![&row.hq.1])),
            Arc::new(BinaryArray::from_opt_vec(vec![lq.map(|(_, blob)| blob.as_slice())])),
        ];
        let batch = RecordBatch::try_new(self.schema.clone(), columns)?;
        self.writer.write(&batch)?;
        self.rows += 1;
        if self.writer.in_progress_size() >= ROW_GROUP_BYTES {
            self.writer.flush()?;
        }
        Ok(())
    }

    /// Writes what is left and the footer.
    ///
    /// # Errors
    /// [`FormatError::Parquet`].
    pub fn finish(self) -> Result<FinishedShard, FormatError> {
        let bytes = self.writer.into_inner()?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        Ok(FinishedShard { bytes: bytes.into(), rows: self.rows, sha256 })
    }
}
