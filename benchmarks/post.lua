-- wrk script: POST one body over and over, print the outcome as one line of JSON.
-- Arguments: the file with the body, then headers as "name: value". A value of `*` stands for a trace of each request's
-- own, as clients under OpenTelemetry send them. (https://github.com/wg/wrk/blob/master/SCRIPTING)

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

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%.6f,"p50":%.4f,"p99":%.4f,"status":%d,"socket":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.status, e.connect + e.read + e.write + e.timeout))
end
