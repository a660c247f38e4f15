-- The journal's tables in Redis, and what is read and written in them. Called as EVALSHA sha 1 PREFIX NAME ARGUMENTS:
-- one call is one transaction, because Redis runs nothing beside it and appends what it wrote to its log as one piece.
-- A script that fails half way is not undone: everything that may be refused is looked at before the first write.
--
-- All keys begin with PREFIX, which is one hash tag, so that they lie on one node of a cluster:
--   topics       set of names of topics
--   last         the last position given out, over all topics; never used twice
--   t:TOPIC      stream of what waits, ids "POSITION-0", fields k (key) and b (body); what is acknowledged is deleted
--   k:TOPIC      hash: key -> position, "" once acknowledged
--   d:TOPIC      sorted set of acknowledged keys, by milliseconds
--   c            hash of cursors
--   s:TABLE      hash of a table's values; i:TABLE its keys in order (sorted set, all scores 0)
--   lead:NAME    hash: token, owner (absent: resigned), till (milliseconds)
--
-- Leases are the pending entries of the one consumer group of each stream: the consumer is who leases, the delivery
-- count is the attempt. Redis keeps when an entry was delivered and not when it is due, so it is told that the delivery
-- was HORIZON before the entry is due: then "idle for HORIZON" is "due". What nobody has leased yet is either not
-- delivered at all, or belongs to NOBODY.

local HORIZON = 315360000000  -- ms: ten years; no lease is longer
local GROUP, NOBODY = 'g', '-'
local PAGE = 500

local prefix = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)  -- ms

local function whole(number) return string.format('%.0f', number) end
local function stream(topic) return prefix .. 't:' .. topic end
local function keys_of(topic) return prefix .. 'k:' .. topic end
local function done_of(topic) return prefix .. 'd:' .. topic end
local function exists(topic) return redis.call('SISMEMBER', prefix .. 'topics', topic) == 1 end

local function due_after(ms) return now + math.min(math.max(ms, -HORIZON), HORIZON) end

-- Whose the entry is until `due`; the number of deliveries stays.
local function give(topic, id, consumer, due)
  redis.call('XCLAIM', stream(topic), GROUP, consumer, 0, id, 'TIME', whole(due - HORIZON), 'JUSTID')
end

-- (consumer, due, attempt) of an entry; nil: not delivered yet.
local function pending(topic, id)
  local found = redis.call('XPENDING', stream(topic), GROUP, id, id, 1)[1]
  if found then return found[2], now + HORIZON - found[3], found[4] end
end

-- The id of a key that waits.
local function waiting(topic, key)
  local position = redis.call('HGET', keys_of(topic), key)
  if position and position ~= '' then return position .. '-0' end
end

local function number_waiting(topic) return redis.call('XLEN', stream(topic)) end

local function entry(topic, id) return redis.call('XRANGE', stream(topic), id, id)[1] end

-- The first field is always the key, the second always the body.
local function key_and_body(found) return found[2][2], found[2][4] end

-- --- parts of a transaction

-- Refusals are (what, ...): the caller returns them as they are, before it has written anything.
local function fenced_off(fence)
  if not fence then return nil end
  local token, owner = unpack(redis.call('HMGET', prefix .. 'lead:' .. fence[1], 'token', 'owner'))
  token = tonumber(token or 0)
  if token ~= fence[2] or not owner then return {'fenced', token} end
end

-- Whether `works` are too much for a topic, once the `ended` keys of `from` are acknowledged.
local function too_full(works, max_waiting, from, ended)
  local freed, seen = 0, {}
  for _, key in ipairs(ended) do
    if not seen[key] and waiting(from, key) then freed = freed + 1 end
    seen[key] = true
  end
  local new, of = {}, {}  -- by topic, and by topic and key: one transaction may name both twice
  for _, work in ipairs(works) do
    local topic = work[1]
    new[topic], of[topic] = new[topic] or 0, of[topic] or {}
    for _, item in ipairs(work[2]) do
      if not of[topic][item[1]] and redis.call('HEXISTS', keys_of(topic), item[1]) == 0 then
        of[topic][item[1]] = true
        new[topic] = new[topic] + 1
      end
    end
  end
  for topic, count in pairs(new) do
    local all = count + (exists(topic) and number_waiting(topic) or 0) - (topic == from and freed or 0)
    if count > 0 and all > max_waiting then return {'full', topic, all} end
  end
end

local function append(topic, items)
  if redis.call('SADD', prefix .. 'topics', topic) == 1 then
    redis.call('XGROUP', 'CREATE', stream(topic), GROUP, '0', 'MKSTREAM')
  end
  local new = 0
  for _, item in ipairs(items) do
    if redis.call('HEXISTS', keys_of(topic), item[1]) == 0 then
      local position = whole(redis.call('INCR', prefix .. 'last'))
      redis.call('HSET', keys_of(topic), item[1], position)
      redis.call('XADD', stream(topic), position .. '-0', 'k', item[1], 'b', item[2])
      new = new + 1
    end
  end
  return new
end

local function ack(topic, keys)
  local ended = 0
  for _, key in ipairs(keys) do
    local id = waiting(topic, key)
    if id then
      redis.call('XACK', stream(topic), GROUP, id)
      redis.call('XDEL', stream(topic), id)
      redis.call('HSET', keys_of(topic), key, '')
      redis.call('ZADD', done_of(topic), whole(now), key)
      ended = ended + 1
    end
  end
  return ended
end

local function put(values)
  for _, value in ipairs(values) do
    local values_of, order_of = prefix .. 's:' .. value[1], prefix .. 'i:' .. value[1]
    if value[3] then
      redis.call('HSET', values_of, value[2], value[3])
      redis.call('ZADD', order_of, 0, value[2])
    else
      redis.call('HDEL', values_of, value[2])
      redis.call('ZREM', order_of, value[2])
    end
  end
end

-- --- what can be asked for. A write answers {'ok', result}, or a refusal.

local ask = {}

-- works: ((topic, ((key, body), ...)), ...); the answer is how many keys of `ended` were waiting, and, per work, how
-- many items were new.
function ask.write(a)
  local refused = fenced_off(a.fence) or too_full(a.works, a.max_waiting, a.topic, a.ended)
  if refused then return refused end
  local counts = {ack(a.topic, a.ended)}
  for _, work in ipairs(a.works) do
    counts[#counts + 1] = append(work[1], work[2])
  end
  if a.cursor then redis.call('HSET', prefix .. 'c', a.cursor[1], a.cursor[2]) end
  put(a.put)
  return {'ok', counts}
end

function ask.move(a)
  local items, seen = {}, {}
  for _, key in ipairs(a.keys) do
    local id = waiting(a.topic, key)
    if id and not seen[key] then
      seen[key] = true
      items[#items + 1] = {key_and_body(entry(a.topic, id))}
    end
  end
  local refused = fenced_off(a.fence) or too_full({{a.to, items}}, a.max_waiting, a.topic, a.keys)
  if refused then return refused end
  local moved = ack(a.topic, a.keys)
  append(a.to, items)
  put(a.put)
  return {'ok', moved}
end

-- Oldest first: what was delivered before, then what never was, which is younger than all of that.
function ask.lease(a)
  local refused = fenced_off(a.fence)
  if refused then return refused end
  local leased = {}
  if not exists(a.topic) then return {'ok', leased} end
  local consumer, due = 'o' .. a.owner, due_after(a.for_ms)
  local function take(found)
    local key, body = key_and_body(found)
    give(a.topic, found[1], consumer, due)
    local _, _, attempt = pending(a.topic, found[1])
    leased[#leased + 1] = {key, body, attempt}
  end
  local at = '0-0'
  while #leased < a.limit do
    local reply = redis.call('XAUTOCLAIM', stream(a.topic), GROUP, consumer, HORIZON, at, 'COUNT', a.limit - #leased)
    for _, found in ipairs(reply[2]) do take(found) end
    at = reply[1]
    if at == '0-0' then break end
  end
  if #leased < a.limit then
    local fresh = redis.call(
      'XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', a.limit - #leased, 'STREAMS', stream(a.topic), '>'
    )
    for _, found in ipairs(fresh and fresh[1][2] or {}) do take(found) end
  end
  return {'ok', leased}
end

-- Make NOBODY's everything up to `id` that was never delivered: only what was can be put off.
local function deliver(topic, id)
  while not pending(topic, id) do
    local fresh = redis.call('XREADGROUP', 'GROUP', GROUP, NOBODY, 'COUNT', PAGE, 'STREAMS', stream(topic), '>')
    for _, found in ipairs(fresh[1][2]) do
      redis.call(
        'XCLAIM', stream(topic), GROUP, NOBODY, 0, found[1], 'TIME', whole(now - HORIZON), 'RETRYCOUNT', 0, 'JUSTID'
      )
    end
  end
end

function ask.release(a)
  local refused = fenced_off(a.fence)
  if refused then return refused end
  local id = waiting(a.topic, a.key)
  if not id then return {'ok', 0} end
  deliver(a.topic, id)
  give(a.topic, id, NOBODY, due_after(a.after_ms))
  return {'ok', 1}
end

function ask.abandon(a)
  local refused = fenced_off(a.fence)
  if refused then return refused end
  local consumer, ended = 'o' .. a.owner, 0
  for _, topic in ipairs(redis.call('SMEMBERS', prefix .. 'topics')) do
    repeat
      local found = redis.call('XPENDING', stream(topic), GROUP, '-', '+', PAGE, consumer)
      for _, one in ipairs(found) do
        if one[3] < HORIZON then ended = ended + 1 end
        give(topic, one[1], NOBODY, now)
      end
    until #found < PAGE
    redis.call('XGROUP', 'DELCONSUMER', stream(topic), GROUP, consumer)
  end
  return {'ok', ended}
end

function ask.prune(a)
  local refused = fenced_off(a.fence)
  if refused then return refused end
  local old = redis.call(
    'ZRANGEBYSCORE', done_of(a.topic), '-inf', '(' .. whole(now - a.older_than_ms), 'LIMIT', 0, a.limit
  )
  for _, key in ipairs(old) do
    redis.call('ZREM', done_of(a.topic), key)
    redis.call('HDEL', keys_of(a.topic), key)
  end
  return {'ok', #old}
end

-- --- leading

local function lead_of(name)
  local token, owner, till = unpack(redis.call('HMGET', prefix .. 'lead:' .. name, 'token', 'owner', 'till'))
  return tonumber(token or 0), owner, tonumber(till or 0)
end

function ask.lead(a)
  local token, owner, till = lead_of(a.name)
  if owner ~= a.owner then
    if owner and till > now then return {'ok', 0} end
    token = token + 1
  end
  redis.call('HSET', prefix .. 'lead:' .. a.name, 'token', whole(token), 'owner', a.owner, 'till', whole(now + a.for_ms))
  return {'ok', token}
end

function ask.resign(a)
  if lead_of(a.name) == a.token then redis.call('HDEL', prefix .. 'lead:' .. a.name, 'owner') end
  return {'ok', 0}
end

function ask.leader(a)
  local token, owner, till = lead_of(a.name)
  return owner and {owner, token, till - now}
end

-- --- reading

function ask.cursor(a) return redis.call('HGET', prefix .. 'c', a.name) end

function ask.get(a) return redis.call('HGET', prefix .. 's:' .. a.table, a.key) end

function ask.scan(a)
  local from = a.after and '(' .. a.after or '-'
  local keys = redis.call('ZRANGEBYLEX', prefix .. 'i:' .. a.table, from, '+', 'LIMIT', 0, a.limit)
  local found = {}
  for at, key in ipairs(keys) do
    found[at] = {key, redis.call('HGET', prefix .. 's:' .. a.table, key)}
  end
  return found
end

-- owner: as in the group, one character before the name; due: ms from now.
function ask.listed(a)
  if not exists(a.topic) then return {} end
  local found = redis.call('XRANGE', stream(a.topic), '(' .. a.after .. '-0', '+', 'COUNT', a.limit)
  for at, one in ipairs(found) do
    local key, body = key_and_body(one)
    local consumer, due, attempt = pending(a.topic, one[1])
    found[at] = {one[1], key, body, attempt or 0, consumer or NOBODY, (due or now) - now}
  end
  return found
end

function ask.count(a)
  if not exists(a.topic) then return {0, 0} end
  return {number_waiting(a.topic), redis.call('ZCARD', done_of(a.topic))}
end

function ask.knows(a) return redis.call('HEXISTS', keys_of(a.topic), a.key) end

-- Whether something can be leased.
function ask.due(a)
  if not exists(a.topic) then return 0 end
  if #redis.call('XPENDING', stream(a.topic), GROUP, 'IDLE', HORIZON, '-', '+', 1) > 0 then return 1 end
  local last = redis.call('XREVRANGE', stream(a.topic), '+', '-', 'COUNT', 1)[1]
  return last and not pending(a.topic, last[1]) and 1 or 0
end

return ask[ARGV[1]](cmsgpack.unpack(ARGV[2]))
