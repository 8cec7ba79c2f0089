/** The shard of a run: FNV-1a (32 bits) of its id in UTF-8, so that every server agrees. */
export const shardOf = (runId: string, shards: number): number => {
  let hash = 2_166_136_261
  for (const byte of encoder.encode(runId)) {
    hash = Math.imul(hash ^ byte, 16_777_619)
  }
  return (hash >>> 0) % shards
}

const encoder = new TextEncoder()
