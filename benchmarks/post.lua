-- wrk script: POST one body over and over, print the outcome as one line of JSON.
-- Arguments: the file with the body, then headers as "name: value". Two values mean something else:
--   *    a trace of each request's own, as clients under OpenTelemetry send them
--   #N   one of N names in turn, as N different clients send them
-- (https://github.com/wg/wrk/blob/master/SCRIPTING)

function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.method = "POST"
  wrk.body = file:read("*a")
  file:close()
  wrk.headers["content-type"] = "application/json"
  for i = 2, #args do
    local name, value = args[i]:match("^([^:]+):%s*(.*)$")
    wrk.headers[name] = value
    if value == "*" then
      request = traced(name)
    elseif value:sub(1, 1) == "#" then
      request = named(name, tonumber(value:sub(2)))
    end
  end
end

function traced(name)
  local count = 0
  return function()
    count = count + 1
    wrk.headers[name] = string.format("00-%032x-%016x-01", count, count)
    return wrk.format()
  end
end

function named(name, clients)
  local count = 0
  local requests = {}
  return function()
    count = count % clients + 1
    if not requests[count] then
      wrk.headers[name] = string.format("client-%06d", count)
      requests[count] = in_order(wrk.format())
    end
    return requests[count]
  end
end

-- The same request with its fields sorted: wrk writes them in another order each time it is started.
function in_order(request)
  local first, fields, body = request:match("^(.-\r\n)(.-\r\n)(\r\n.*)$")
  local lines = {}
  for line in fields:gmatch("(.-\r\n)") do
    lines[#lines + 1] = line
  end
  table.sort(lines)
  return first .. table.concat(lines) .. body
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%.6f,"p50":%.4f,"p99":%.4f,"status":%d,"socket":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.status, e.connect + e.read + e.write + e.timeout))
end
