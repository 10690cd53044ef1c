package cloudevent

// parseTime reads an RFC 3339 date and time into Unix nanoseconds. It reads the whole grammar but leap seconds; digits of
// the fraction beyond the ninth are cut. It returns false for anything else, and for times that Unix nanoseconds cannot
// hold (before 1678 or after 2261).
func parseTime(s string) (ns int64, ok bool) {
	// 2006-01-02T15:04:05 is 19 bytes, the shortest zone one more.
	if len(s) < 20 || s[4] != '-' || s[7] != '-' || s[10]|0x20 != 't' || s[13] != ':' || s[16] != ':' {
		return 0, false
	}
	var bad bool
	two := func(i int) int {
		a, b := s[i]-'0', s[i+1]-'0'
		bad = bad || a > 9 || b > 9
		return int(a)*10 + int(b)
	}
	year := two(0)*100 + two(2)
	month, day := two(5), two(8)
	hour, minute, second := two(11), two(14), two(17)
	if bad || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	i := 19
	var frac int64
	if s[i] == '.' {
		i++
		start := i
		unit := int64(100_000_000)
		for ; i < len(s) && s[i]-'0' <= 9; i++ {
			frac += unit * int64(s[i]-'0')
			unit /= 10
		}
		if i == start || i == len(s) {
			return 0, false
		}
	}
	offset := 0
	switch {
	case s[i]|0x20 == 'z' && len(s) == i+1:
	case (s[i] == '+' || s[i] == '-') && len(s) == i+6 && s[i+3] == ':':
		h, m := two(i+1), two(i+4)
		if bad || h > 23 || m > 59 {
			return 0, false
		}
		offset = h*3600 + m*60
		if s[i] == '-' {
			offset = -offset
		}
	default:
		return 0, false
	}
	sec := daysSince1970(year, month, day)*86400 + int64(hour*3600+minute*60+second-offset)
	return unixNano(sec, frac)
}

// unixNano returns false if Unix nanoseconds cannot hold the time.
func unixNano(sec, nanos int64) (int64, bool) {
	const most = (1<<63 - 1) / 1_000_000_000
	if sec >= most || sec < -most || nanos < 0 || nanos > 999_999_999 {
		return 0, false
	}
	return sec*1_000_000_000 + nanos, true
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// daysSince1970 counts in years that begin in March, so that the leap day is the last of its year.
func daysSince1970(year, month, day int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	era := year / 400
	if year < 0 {
		era = -1
	}
	yearOfEra := year - era*400
	dayOfYear := (153*(month-3)+2)/5 + day - 1
	return int64(era)*146097 + int64(yearOfEra*365+yearOfEra/4-yearOfEra/100+dayOfYear) - 719468
}
